"""C and Python speak the same ABI: the generated module is what the header says now."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rtprelay.kernel import _abi, abi
from rtprelay.values import Endpoint
from tools.gen_abi import generate

ROOT = Path(__file__).parents[2]
INCLUDE = ROOT / "ebpf/include"


def tool(name: str) -> str:
    found = shutil.which(name, path="/usr/bin:/usr/sbin")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def test_the_generated_module_is_up_to_date(tmp_path: Path) -> None:
    anchor = tmp_path / "abi_anchor.bpf.o"
    tool("bpftool")
    source = ROOT / "ebpf/abi_anchor.bpf.c"
    system = [f"-isystem{path}" for path in Path("/usr/include").glob("*-linux-gnu")]
    flags = ["-O2", "-g", "-target", "bpf", f"-I{INCLUDE}", *system]
    subprocess.run([tool("clang-16"), *flags, "-c", str(source), "-o", str(anchor)], check=True)
    assert generate(anchor, INCLUDE) == Path(_abi.__file__).read_text()


def test_the_header_compiles_as_plain_c_with_the_same_layout(tmp_path: Path) -> None:
    """The kernel module will include it, with a compiler of another target."""
    checks = [f'_Static_assert(sizeof(struct rtprelay_{name}) == {size}, "");' for name, size in sizes().items()]
    source = tmp_path / "layout.c"
    source.write_text("#include <rtprelay/abi.h>\n" + "\n".join(checks))
    subprocess.run(
        [tool("clang-16"), "-fsyntax-only", "-Wall", "-Wpadded", "-Werror", f"-I{INCLUDE}", source], check=True
    )


def sizes() -> dict[str, int]:
    def snake(name: str) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

    return {snake(kind.__name__): size for kind, (size, _) in abi.LAYOUT.items()}


@pytest.mark.parametrize("text", ["192.0.2.1", "::", "2001:db8::1", "0.0.0.0"])
def test_endpoints_go_there_and_back(text: str) -> None:
    endpoint = Endpoint(text, 40000)
    assert abi.address(abi.endpoint(endpoint)) == endpoint


def test_no_endpoint_is_all_zero() -> None:
    assert bytes(abi.endpoint(None)) == bytes(20)
    assert abi.address(abi.Endpoint()) is None


def test_every_reason_and_counter_has_a_place_and_a_text() -> None:
    assert set(abi.REASON_TEXT) == set(abi.REASON_ACTION) == set(abi.Reason)
    assert set(abi.COUNTER_TEXT) == set(abi.Counter)
    names = abi.count_names()
    assert len(names) == len(abi.Reason) + len(abi.Counter) == len(set(names.values()))
    assert max(abi.Reason) < abi.Limits.COUNTER_BASE
    assert max(names) < abi.Limits.COUNTS


def test_punts_and_drops_are_told_apart_by_number() -> None:
    """As ebpf/lib/punt.h does."""
    for reason, action in abi.REASON_ACTION.items():
        assert (action == "punt") == (reason < abi.Reason.SOURCE_MISMATCH)


@pytest.mark.parametrize(
    ("rate", "nanoseconds"), [(8000, 125_000), (48000, 20_833.33), (90000, 11_111.11), (0, 0), (1, 0)]
)
def test_ticks_are_in_256ths_of_a_nanosecond(rate: int, nanoseconds: float) -> None:
    assert abi.tick(rate) / 256 == pytest.approx(nanoseconds, rel=1e-6)
