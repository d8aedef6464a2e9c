"""A thin, typed face of the system's libbpf.so.1 (Debian 12: 1.1): objects, maps, programs, links, tc.

ctypes, because opening and loading this way costs 1.5 ms and 0.6 MiB (docs/adr/0002-data-plane.md). Every failure is a
BackendFault with the errno's text; a program the verifier refuses brings the end of the verifier's log along.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from rtprelay.errors import BackendFault

XDP_FLAGS_NATIVE = 4

BPF_ANY = 0
BPF_NOEXIST = 1
BPF_F_MMAPABLE = 1 << 10
BPF_MAP_TYPE_DEVMAP = 14

_BPF_TRACE_ITER = 28
_BPF_SK_LOOKUP = 36
_BPF_XDP = 37
_BPF_TC_INGRESS = 1
_BPF_TC_F_REPLACE = 1
_LIBBPF_DEBUG = 2
_LOG_SIZE = 1 << 24
"""libbpf gives a verifier's log as one message of up to 16 MiB."""
_LOG_TAIL = 4000
"""Characters of the verifier's log worth showing: the verdict is at its end."""


class _Opts(ctypes.Structure):
    """libbpf's extensible argument structures open with their own size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.sz = ctypes.sizeof(self)


class _TestRunOpts(_Opts):
    retval: int
    duration: int
    data_size_out: int
    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class _LinkCreateOpts(_Opts):
    _fields_ = (
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
    )


class _MapCreateOpts(_Opts):
    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class _TcHook(_Opts):
    _fields_ = (
        ("sz", c_size_t),
        ("ifindex", c_int),
        ("attach_point", c_int),
        ("parent", c_uint32),
    )


class _TcOpts(_Opts):
    prog_id: int
    _fields_ = (
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    )


class _MapInfo(ctypes.Structure):
    """The head of struct bpf_map_info (linux/bpf.h)."""

    id: int
    key_size: int
    value_size: int
    max_entries: int
    name: bytes
    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", ctypes.c_char * 16),
    )


class _ProgramInfo(ctypes.Structure):
    """struct bpf_prog_info (linux/bpf.h), as far as it is read here."""

    id: int
    jited_prog_len: int
    verified_insns: int
    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_uint64),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("unread", c_uint64 * 24),
        ("verified_insns", c_uint32),
    )


class _LinkInfo(ctypes.Structure):
    """The head of struct bpf_link_info, with its XDP variant."""

    id: int
    prog_id: int
    ifindex: int
    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("reserved", c_uint32),
        ("ifindex", c_uint32),
        ("rest", c_uint32 * 16),
    )


_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)

_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_char_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_char_p, c_char_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_char_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_char_p, c_void_p)),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)),
    "bpf_map_update_batch": (c_int, (c_int, c_char_p, c_char_p, c_void_p, c_void_p)),
    "bpf_map_delete_batch": (c_int, (c_int, c_char_p, c_void_p, c_void_p)),
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, c_void_p)),
    "bpf_link_update": (c_int, (c_int, c_int, c_void_p)),
    "bpf_link_detach": (c_int, (c_int,)),
    "bpf_tc_hook_create": (c_int, (c_void_p,)),
    "bpf_tc_attach": (c_int, (c_void_p, c_void_p)),
    "bpf_tc_detach": (c_int, (c_void_p, c_void_p)),
    "bpf_tc_query": (c_int, (c_void_p, c_void_p)),
    "libbpf_set_print": (c_void_p, (_PRINT,)),
    "libbpf_num_possible_cpus": (c_int, ()),
}


class _Library:
    """libbpf.so.1 with its log captured."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as error:
            raise BackendFault(f"libbpf.so.1 cannot be loaded (package libbpf1): {error}") from error
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
        self.call = library
        self.log: list[str] = []
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)
        self._print = _PRINT(self._capture)
        """Kept for as long as the library may call it."""
        library.libbpf_set_print(self._print)

    def _capture(self, level: int, form: bytes, arguments: int) -> int:
        # A va_list is passed by address on every 64-bit ABI this runs on (x86-64, arm64).
        if level < _LIBBPF_DEBUG:
            line = ctypes.create_string_buffer(_LOG_SIZE)
            self._vsnprintf(line, len(line), form, arguments)
            self.log.append(line.value.decode(errors="replace"))
        return 0

    def check(self, result: int, what: str) -> int:
        if result < 0:
            raise fault(-result, what)
        return result


def fault(number: int, what: str, detail: str = "") -> BackendFault:
    return BackendFault(f"{what}: {os.strerror(number)}" + (f"\n{detail}" if detail else ""))


@functools.cache
def _library() -> _Library:
    return _Library()


def possible_cpus() -> int:
    """How many values a per-CPU map holds for each key."""
    return _library().check(_library().call.libbpf_num_possible_cpus(), "count CPUs")


def stride(value_size: int) -> int:
    """Distance between the elements of an array map."""
    return (value_size + 7) & ~7


class _Descriptor:
    """Something behind a file descriptor."""

    def __init__(self, fd: int, name: str, owned: bool = True) -> None:
        self.fd = fd
        self.name = name
        self._owned = owned

    @classmethod
    def _get(cls, path: Path) -> int:
        return _library().check(_library().call.bpf_obj_get(bytes(path)), f"open {path}")

    def pin(self, path: Path) -> None:
        library = _library()
        library.check(library.call.bpf_obj_pin(self.fd, bytes(path)), f"pin {self.name} at {path}")

    def close(self) -> None:
        if self._owned and self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def _info(self, info: ctypes.Structure) -> None:
        size = c_uint32(ctypes.sizeof(info))
        library = _library()
        result = library.call.bpf_obj_get_info_by_fd(self.fd, ctypes.byref(info), ctypes.byref(size))
        library.check(result, f"ask about {self.name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Map(_Descriptor):
    """A map in the kernel. Keys and values are bytes; `bytes(structure)` makes them of ctypes structures."""

    def __init__(self, fd: int, owned: bool = True) -> None:
        super().__init__(fd, f"map {fd}", owned)
        info = _MapInfo()
        self._info(info)
        self.name = info.name.decode()
        self.id = info.id
        self.key_size = info.key_size
        self.value_size = info.value_size
        self.max_entries = info.max_entries

    @classmethod
    def open(cls, path: Path) -> Map:
        """A pinned map."""
        return cls(cls._get(path))

    @classmethod
    def create(cls, kind: int, name: str, key_size: int, value_size: int, max_entries: int, flags: int = 0) -> Map:
        library = _library()
        opts = _MapCreateOpts(map_flags=flags)
        fd = library.call.bpf_map_create(kind, name.encode(), key_size, value_size, max_entries, ctypes.byref(opts))
        return cls(library.check(fd, f"create map {name}"))

    def lookup(self, key: bytes, cpus: int = 1) -> bytes | None:
        """The value, None where there is none. Per-CPU maps: `cpus` = possible_cpus(), values `stride` apart."""
        self._check_key(key)
        value = ctypes.create_string_buffer(self.value_size if cpus == 1 else stride(self.value_size) * cpus)
        library = _library()
        result = library.call.bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        library.check(result, f"look up in {self.name}")
        return value.raw

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
        self._check_key(key)
        if len(value) < self.value_size:
            raise ValueError(f"a value of {self.name} has {self.value_size} bytes, not {len(value)}")
        library = _library()
        library.check(library.call.bpf_map_update_elem(self.fd, key, value, flags), f"update {self.name}")

    def delete(self, key: bytes) -> bool:
        """False: it was not there."""
        self._check_key(key)
        library = _library()
        result = library.call.bpf_map_delete_elem(self.fd, key)
        if result == -errno.ENOENT:
            return False
        library.check(result, f"delete from {self.name}")
        return True

    def keys(self) -> Iterator[bytes]:
        """All keys; one deleted meanwhile makes the kernel start over, so collect before deleting."""
        library = _library()
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.key_size)
        while (result := library.call.bpf_map_get_next_key(self.fd, key, following)) == 0:
            key = following.raw
            yield key
        if result != -errno.ENOENT:
            library.check(result, f"walk {self.name}")

    def items(self, batch: int = 1024) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash or array map, by the batch: 0.15 us an entry."""
        library = _library()
        token: Any = None
        following = ctypes.create_string_buffer(max(self.key_size, 4))
        result = 0
        while result == 0:
            keys = ctypes.create_string_buffer(self.key_size * batch)
            values = ctypes.create_string_buffer(self.value_size * batch)
            count = c_uint32(batch)
            result = library.call.bpf_map_lookup_batch(
                self.fd, token, following, keys, values, ctypes.byref(count), None
            )
            if result == -errno.ENOSPC:
                # One bucket of the hash has more entries than the batch has room for.
                batch, result = batch * 2, 0
                continue
            if result not in (0, -errno.ENOENT):
                library.check(result, f"read {self.name}")
            raw_keys, raw_values = keys.raw, values.raw
            for i in range(count.value):
                yield (
                    raw_keys[i * self.key_size : (i + 1) * self.key_size],
                    raw_values[i * self.value_size : (i + 1) * self.value_size],
                )
            token = ctypes.create_string_buffer(following.raw, len(following))

    def update_batch(self, entries: Mapping[bytes, bytes]) -> None:
        if not entries:
            return
        for key in entries:
            self._check_key(key)
        count = c_uint32(len(entries))
        library = _library()
        result = library.call.bpf_map_update_batch(
            self.fd, b"".join(entries), b"".join(entries.values()), ctypes.byref(count), None
        )
        library.check(result, f"update {self.name}")

    def delete_batch(self, keys: list[bytes]) -> None:
        """All of `keys`, which must be there."""
        if not keys:
            return
        count = c_uint32(len(keys))
        library = _library()
        result = library.call.bpf_map_delete_batch(self.fd, b"".join(keys), ctypes.byref(count), None)
        library.check(result, f"delete from {self.name}")

    def mmap(self, writable: bool = False) -> mmap.mmap:
        """The values of an array map with BPF_F_MMAPABLE, `stride(value_size)` apart: read without a system call."""
        length = stride(self.value_size) * self.max_entries
        length = (length + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1)
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            return mmap.mmap(self.fd, length, mmap.MAP_SHARED, protection)
        except OSError as error:
            raise fault(error.errno or 0, f"map {self.name} into memory") from error

    def _check_key(self, key: bytes) -> None:
        if len(key) != self.key_size:
            raise ValueError(f"a key of {self.name} has {self.key_size} bytes, not {len(key)}")


class TestRun(NamedTuple):
    """What a program did with a packet in BPF_PROG_TEST_RUN."""

    verdict: int
    data: bytes
    duration: int
    """Nanoseconds per run, as the kernel counts them (an average over `repeat`)."""
    context: bytes
    """What became of the context (`struct __sk_buff`, `struct xdp_md`), where one was given."""


class Program(_Descriptor):
    """A loaded program."""

    def __init__(self, fd: int, name: str = "program", owned: bool = True) -> None:
        super().__init__(fd, name, owned)
        info = _ProgramInfo()
        self._info(info)
        self.id = info.id
        self.machine_code = info.jited_prog_len
        """Bytes."""
        self.verified = info.verified_insns
        """Instructions the verifier has walked, on all paths."""

    @classmethod
    def open(cls, path: Path) -> Program:
        """A pinned program."""
        return cls(cls._get(path), path.name)

    def test_run(self, data: bytes, repeat: int = 1, context: bytes | None = None) -> TestRun:
        """Run it over a frame (BPF_PROG_TEST_RUN), which sends nothing."""
        size = len(data) + 256
        out = ctypes.create_string_buffer(size)
        context_out = ctypes.create_string_buffer(len(context)) if context else None
        opts = _TestRunOpts(
            data_in=data,
            data_out=ctypes.addressof(out),
            data_size_in=len(data),
            data_size_out=size,
            ctx_in=context,
            ctx_out=ctypes.addressof(context_out) if context_out else None,
            ctx_size_in=len(context) if context else 0,
            ctx_size_out=len(context) if context else 0,
            repeat=repeat,
        )
        library = _library()
        library.check(library.call.bpf_prog_test_run_opts(self.fd, ctypes.byref(opts)), f"test run of {self.name}")
        return TestRun(
            ctypes.c_int32(opts.retval).value,
            out.raw[: opts.data_size_out],
            opts.duration,
            context_out.raw if context_out else b"",
        )

    def call(self, argument: ctypes.Structure) -> int:
        """Run a program of type syscall; it may write its answer into the argument."""
        opts = _TestRunOpts(ctx_in=ctypes.cast(ctypes.byref(argument), c_char_p), ctx_size_in=ctypes.sizeof(argument))
        library = _library()
        library.check(library.call.bpf_prog_test_run_opts(self.fd, ctypes.byref(opts)), f"run {self.name}")
        return ctypes.c_int32(opts.retval).value


class Link(_Descriptor):
    """An attachment that lasts as long as a descriptor or a pin of it does."""

    @classmethod
    def xdp(cls, program: Program, ifindex: int, flags: int = XDP_FLAGS_NATIVE) -> Link:
        library = _library()
        opts = _LinkCreateOpts(flags=flags)
        fd = library.call.bpf_link_create(program.fd, ifindex, _BPF_XDP, ctypes.byref(opts))
        return cls(library.check(fd, f"attach {program.name} to interface {ifindex}"), f"xdp link of {ifindex}")

    @classmethod
    def sk_lookup(cls, program: Program, namespace: int) -> Link:
        """Ask it for the sockets of a network namespace, of which this is a descriptor."""
        library = _library()
        fd = library.call.bpf_link_create(program.fd, namespace, _BPF_SK_LOOKUP, None)
        return cls(library.check(fd, f"attach {program.name} to the network namespace"), "sk_lookup link")

    @classmethod
    def iterator(cls, program: Program, over: Map) -> Link:
        """An iterator over the elements of a map; pinned, its text can be read like a file."""
        library = _library()
        target = (c_uint32 * 4)(over.fd)
        opts = _LinkCreateOpts(iter_info=ctypes.addressof(target), iter_info_len=ctypes.sizeof(target))
        fd = library.call.bpf_link_create(program.fd, 0, _BPF_TRACE_ITER, ctypes.byref(opts))
        return cls(library.check(fd, f"attach {program.name} to {over.name}"), f"iterator of {over.name}")

    @classmethod
    def open(cls, path: Path) -> Link:
        """A pinned link."""
        return cls(cls._get(path), path.name)

    def update(self, program: Program) -> None:
        """Put another program in place of the attached one, between two packets."""
        library = _library()
        library.check(library.call.bpf_link_update(self.fd, program.fd, None), f"update {self.name}")

    def detach(self) -> None:
        """Take the program off though pins of the link may remain."""
        library = _library()
        library.check(library.call.bpf_link_detach(self.fd), f"detach {self.name}")

    @property
    def program_id(self) -> int:
        return self._link_info().prog_id

    @property
    def ifindex(self) -> int:
        """Of an XDP link; 0 when its interface is gone."""
        return self._link_info().ifindex

    def _link_info(self) -> _LinkInfo:
        info = _LinkInfo()
        self._info(info)
        return info


class Object:
    """One .bpf.o: open it, size and share its maps, load it.

        with Object(path) as programs:
            programs.resize("rtprelay_flows", 65536)
            programs.share(maps)              # those that are pinned, or another object's
            programs.load()
            programs.maps["rtprelay_flows"].update(...)

    Closing lets go of the programs and maps that are neither attached nor pinned.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._library = _library()
        self._library.log.clear()
        self._object = self._library.call.bpf_object__open_file(bytes(path), None)
        if not self._object:
            raise fault(ctypes.get_errno(), f"open {path}", self._log())
        call = self._library.call
        self._maps = dict(self._each(call.bpf_object__next_map, call.bpf_map__name))
        self._programs = dict(self._each(call.bpf_object__next_program, call.bpf_program__name))
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}

    def _each(self, following: Callable[..., int | None], name: Callable[..., bytes]) -> Iterator[tuple[str, int]]:
        item = following(self._object, None)
        while item:
            yield name(item).decode(), item
            item = following(self._object, item)

    def resize(self, name: str, entries: int) -> None:
        """Before load; of a map this object does not use: nothing happens."""
        if name in self._maps:
            result = self._library.call.bpf_map__set_max_entries(self._maps[name], entries)
            self._library.check(result, f"resize {name}")

    def share(self, maps: Mapping[str, Map]) -> None:
        """Before load: use these instead of new ones. Names this object does not use are passed over."""
        for name, shared in maps.items():
            if name in self._maps:
                result = self._library.call.bpf_map__reuse_fd(self._maps[name], shared.fd)
                self._library.check(result, f"share {name}")

    def load(self) -> None:
        self._library.log.clear()
        result = self._library.call.bpf_object__load(self._object)
        if result < 0:
            raise fault(-result, f"load {self._path.name}", self._log())
        call = self._library.call
        for name, handle in self._maps.items():
            self.maps[name] = Map(call.bpf_map__fd(handle), owned=False)
        for name, handle in self._programs.items():
            self.programs[name] = Program(call.bpf_program__fd(handle), name, owned=False)

    def _log(self) -> str:
        return "".join(self._library.log)[-_LOG_TAIL:]

    def close(self) -> None:
        if self._object:
            self._library.call.bpf_object__close(self._object)
            self._object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def tc_attach(ifindex: int, program: Program, handle: int = 1, priority: int = 1) -> None:
    """Attach to tc ingress or replace what is there under this handle; stays after this process is gone."""
    library = _library()
    hook = _TcHook(ifindex=ifindex, attach_point=_BPF_TC_INGRESS)
    result = library.call.bpf_tc_hook_create(ctypes.byref(hook))
    if result != -errno.EEXIST:
        library.check(result, f"create the tc hook of interface {ifindex}")
    opts = _TcOpts(prog_fd=program.fd, flags=_BPF_TC_F_REPLACE, handle=handle, priority=priority)
    result = library.call.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(opts))
    library.check(result, f"attach {program.name} to tc ingress of interface {ifindex}")


def tc_detach(ifindex: int, handle: int = 1, priority: int = 1) -> None:
    """Take our filter off tc ingress; others' filters and the qdisc stay. Nothing attached: nothing happens."""
    library = _library()
    hook = _TcHook(ifindex=ifindex, attach_point=_BPF_TC_INGRESS)
    opts = _TcOpts(handle=handle, priority=priority)
    result = library.call.bpf_tc_detach(ctypes.byref(hook), ctypes.byref(opts))
    if result not in (-errno.ENOENT, -errno.EINVAL, -errno.ENODEV):
        library.check(result, f"detach from tc ingress of interface {ifindex}")


def tc_program(ifindex: int, handle: int = 1, priority: int = 1) -> int | None:
    """The id of the program attached to tc ingress under this handle."""
    library = _library()
    hook = _TcHook(ifindex=ifindex, attach_point=_BPF_TC_INGRESS)
    opts = _TcOpts(handle=handle, priority=priority)
    with contextlib.suppress(BackendFault):
        library.check(library.call.bpf_tc_query(ctypes.byref(hook), ctypes.byref(opts)), "query tc")
        return opts.prog_id
    return None
