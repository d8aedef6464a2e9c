"""What this kernel makes of the programs: how long each object takes to load, how far its verifier has to walk.

python -m tools.verified      as root, over built objects; `make vm` prints it for each kernel
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

from rtprelay.kernel import libbpf
from rtprelay.kernel.libbpf import Object

OBJECTS = Path(libbpf.__file__).parent / "objects"


def main() -> None:
    print(f"Linux {platform.release()}")
    print("| object | seconds to load | program | instructions verified | bytes of machine code |")
    print("|---|---|---|---|---|")
    for path in sorted(OBJECTS.glob("*.bpf.o")):
        with Object(path) as loaded:
            began = time.monotonic()
            loaded.load()
            seconds = time.monotonic() - began
            for name, program in loaded.programs.items():
                print(f"| {path.name} | {seconds:.2f} | {name} | {program.verified:,} | {program.machine_code:,} |")


if __name__ == "__main__":
    main()
