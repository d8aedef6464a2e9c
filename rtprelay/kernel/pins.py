"""The programs and maps of one relay, kept alive under its directory in bpffs.

    <bpf_path>/maps/<map>        all maps the programs share
    <bpf_path>/links/<ifindex>   native XDP attachments (tc filters live with their device)
    <bpf_path>/list              the flows as text (`cat` it)

A successor finds the maps, compares their ABI and sizes, and loads its own programs over them: replacing the attached
programs is then the only step, and an atomic one. Maps that do not fit are set aside (`maps-old`): the old programs go
on with them until the new ones, over new maps, are attached; then they are removed.

Who uses the directory holds a lock on it (flock(2)), which goes with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rtprelay.errors import BackendFault, PinsInUse
from rtprelay.kernel import abi
from rtprelay.kernel.libbpf import Link, Map, Object, Program

_OBJECTS = Path(__file__).parent / "objects"
_PRIVATE = (
    *("rtprelay_serial", "rtprelay_cursor", "rtprelay_far_cursor"),
    *("rtprelay_scratch", "rtprelay_secured"),
)
"""Maps that live and die with one set of programs; so do sections of constants, whose names have a dot."""
_BPFFS = Path("/sys/fs/bpf")
_MOUNT_FLAGS = 2 | 4 | 8
"""MS_NOSUID, MS_NODEV, MS_NOEXEC."""
_FIRST = bytes(4)
BPF_MAP_TYPE_ARRAY = 2


class Pins:
    """After `open`, `maps` and the programs are there."""

    def __init__(self, root: Path, sizes: Mapping[str, int]) -> None:
        self.root = root
        self.maps: dict[str, Map] = {}
        self.inherited = False
        """The maps are a predecessor's, flows included."""
        self._sizes = sizes
        self._objects: list[Object] = []
        self._lock: int | None = None

    @property
    def xdp(self) -> Program:
        return self._program("relay_xdp")

    @property
    def egress(self) -> Program:
        return self._program("relay_egress")

    @property
    def tc(self) -> Program:
        return self._program("relay_tc")

    @property
    def claim(self) -> Program:
        return self._program("rtprelay_claim")

    @property
    def forget(self) -> Program:
        return self._program("rtprelay_forget")

    def _program(self, name: str) -> Program:
        for loaded in self._objects:
            if name in loaded.programs:
                return loaded.programs[name]
        raise BackendFault(f"no program {name} in {_OBJECTS}: built from other sources, `make build` makes them anew")

    def open(self) -> None:
        """Raises BackendFault where the kernel refuses and PinsInUse, leaving everything as it was."""
        ensure_bpffs(self.root)
        first, aside = not self.root.exists(), False
        self._own_directories()
        self._lock = lock(self.root)
        try:
            inherited = self._open_maps(self.root / "maps")
            self.inherited = inherited is not None
            self.maps = inherited or {}
            self._load()
            if not self.inherited:
                aside = self._set_aside()
                self._pin_maps()
            self._pin_list()
        except BackendFault:
            self.close()
            if first:
                self.remove()
            elif aside:
                remove(self.root / "maps")
                (self.root / "maps-old").rename(self.root / "maps")
            raise

    def _own_directories(self) -> None:
        """Anybody may make directories in bpffs: what is not ours might be a trap."""
        for directory in (self.root, self.root / "links"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if directory.stat().st_uid != os.geteuid():
                raise BackendFault(f"{directory} belongs to somebody else")
            directory.chmod(0o700)

    def _set_aside(self) -> bool:
        """A predecessor's maps, where there are any."""
        if not (self.root / "maps").exists():
            return False
        remove(self.root / "maps-old")
        (self.root / "maps").rename(self.root / "maps-old")
        return True

    def _open_maps(self, directory: Path) -> dict[str, Map] | None:
        """The pinned maps; None where there are none or they are not what these programs work with."""
        if not directory.is_dir():
            return None
        maps = {path.name: Map.open(path) for path in directory.iterdir()}
        described = maps.get("rtprelay_abi")
        fits = described is not None and described.lookup(_FIRST) == bytes(abi.expected_abi())
        if fits and all(name in maps and maps[name].max_entries == size for name, size in self._sizes.items()):
            return maps
        for left in maps.values():
            left.close()
        return None

    def _load(self) -> None:
        for name in ("relay_xdp", "relay_tc", "claim", "list"):
            loading = Object(_OBJECTS / f"{name}.bpf.o")
            self._objects.append(loading)
            for sized, entries in self._sizes.items():
                loading.resize(sized, entries)
            loading.share(self.maps)
            loading.load()
            for found, new in loading.maps.items():
                if found not in self.maps and found not in _PRIVATE and "." not in found:
                    self.maps[found] = new

    def _pin_maps(self) -> None:
        described = abi.expected_abi()
        size = ctypes.sizeof(described)
        self.maps["rtprelay_abi"] = Map.create(BPF_MAP_TYPE_ARRAY, "rtprelay_abi", len(_FIRST), size, 1)
        self.maps["rtprelay_abi"].update(_FIRST, bytes(described))
        directory = self.root / "maps"
        directory.mkdir(mode=0o700)
        for name, created in self.maps.items():
            created.pin(directory / name)

    def _pin_list(self) -> None:
        path = self.root / "list"
        path.unlink(missing_ok=True)
        with Link.iterator(self._program("rtprelay_list"), self.maps["rtprelay_flows"]) as iterator:
            iterator.pin(path)
        path.chmod(0o400)

    @property
    def replaces(self) -> bool:
        """The maps of a predecessor have been set aside; its programs still work with them."""
        return (self.root / "maps-old").exists()

    def link(self, ifindex: int) -> Path:
        """By number: bpffs allows no dots in names."""
        return self.root / "links" / str(ifindex)

    def links(self) -> Iterator[Path]:
        yield from sorted((self.root / "links").iterdir())

    def forget_predecessor(self) -> None:
        """Our programs are attached: the maps set aside serve nobody any more."""
        remove(self.root / "maps-old")

    def close(self) -> None:
        """Let go of the descriptors, the lock's at last; what is pinned or attached stays."""
        for loaded in self._objects:
            loaded.close()
        if self.inherited:
            for opened in self.maps.values():
                opened.close()
        elif "rtprelay_abi" in self.maps:
            self.maps["rtprelay_abi"].close()
        self._objects = []
        self.maps = {}
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Unpin everything; only descriptors keep it then."""
        remove(self.root)


def lock(root: Path) -> int:
    """A descriptor that keeps everybody else from the pins at `root` while it is open. Raises PinsInUse."""
    held = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise PinsInUse(f"bpf path {root} is in use by another rtprelay") from error
    return held


def remove(path: Path) -> None:
    """All pins there. bpffs knows directories and objects, two levels of them here."""
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def ensure_bpffs(path: Path) -> None:
    """See to it that `path` is in a bpf file system: the usual one is mounted where it is missing."""
    if _in_bpffs(path):
        return
    if path.is_relative_to(_BPFFS):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"bpf", bytes(_BPFFS), b"bpf", _MOUNT_FLAGS, None) == 0:
            return
        raise BackendFault(f"the bpf file system cannot be mounted at {_BPFFS}: {os.strerror(ctypes.get_errno())}")
    raise BackendFault(f"{path} is not in a bpf file system")


def _in_bpffs(path: Path) -> bool:
    # The mount point is field 5, the type follows the separator (proc_pid_mountinfo(5)).
    mounts: list[tuple[Path, str]] = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            mounts.append((Path(fields[4]), fields[fields.index("-") + 1]))
    holding = [(len(point.parts), kind) for point, kind in mounts if path.is_relative_to(point)]
    return bool(holding) and max(holding, key=lambda mount: mount[0])[1] == "bpf"
