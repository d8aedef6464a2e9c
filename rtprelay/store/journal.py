"""The write-ahead journal: what the relay promised, so that its successor can keep it.

Theory of operation. One append-only file, `journal` in the state directory. Every record is the whole state of one
call, or a tombstone; the last record of a call counts. A record is written with one write(2) before the reply that
promises it leaves, so an answered call is known to the successor however the daemon died: the page cache belongs to
the kernel and survives `kill -9`. It is not fsync'ed: after a power cut calls may be gone, as the kernel's flows are.

    file    = magic(8) version(u32) record*
    record  = length(u32) crc32(u32) body            length and checksum are those of the body
    body    = kind(u8: 1 call, 0 tombstone) id-length(u16) call-id(UTF-8) state

A torn tail (the daemon died inside write), a damaged record and a file that is no journal are one case, since a damaged
length looks like a torn tail: what was read up to there is kept in a new file, the old one is set aside for a person.
When more than half of a file that has grown past a megabyte is dead, the living records are copied to a new file that
is renamed over the old one: 40 ms for 10,000 calls of 2 KB, and the kernel forwards meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rtprelay.errors import OurFault
from rtprelay.values import CallId

MAGIC = b"RTPRjrnl"
VERSION = 1
HEADER = struct.pack("<8sI", MAGIC, VERSION)
FRAME = struct.Struct("<II")
BODY = struct.Struct("<BH")
TOMBSTONE, CALL = 0, 1
COMPACT_ABOVE = 1 << 20


class JournalFault(OurFault):
    label = "journal"


class Recovery(msgspec.Struct, frozen=True):
    """What opening found: `calls` that live, and what was wrong with the file, in words, or None."""

    calls: int
    damage: str | None = None
    set_aside: Path | None = None


class _Slot(msgspec.Struct, frozen=True):
    """Where a living record's frame lies in the file."""

    offset: int
    size: int


class Journal:
    """Open for as long as the daemon runs; a second daemon on the same directory is refused."""

    def __init__(self, directory: Path, compact_above: int = COMPACT_ABOVE) -> None:
        self._path = directory / "journal"
        self._compact_above = compact_above
        self._slots: dict[CallId, _Slot] = {}
        self._live = 0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalFault(f"state directory {directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise JournalFault(f"state directory {directory} is in use by another rtprelay") from error
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.recovery = self._recover()
        except OSError as error:
            os.close(self._lock)
            raise JournalFault(f"{self._path}: {error.strerror}") from error

    def records(self) -> Iterator[bytes]:
        """The last state of every call that lives, in the order of their last change."""
        for call_id, slot in sorted(self._slots.items(), key=lambda item: item[1].offset):
            prefix = FRAME.size + BODY.size + len(_encoded(call_id))
            yield os.pread(self._fd, slot.size - prefix, slot.offset + prefix)

    def put(self, call_id: CallId, record: bytes | None) -> None:
        """Remember the call's state, or with None that it is gone. Raises JournalFault when it is not whole on file."""
        name = _encoded(call_id)
        body = BODY.pack(TOMBSTONE if record is None else CALL, len(name)) + name + (record or b"")
        frame = FRAME.pack(len(body), zlib.crc32(body)) + body
        try:
            self._append(frame)
        except OSError as error:
            raise JournalFault(f"{self._path}: {error.strerror}") from error
        self._note(call_id, None if record is None else _Slot(self._end - len(frame), len(frame)))
        if self._end > max(self._compact_above, 2 * self._live):
            self._compact()

    def erase(self) -> None:
        """Forget every call (`--flush`)."""
        os.ftruncate(self._fd, len(HEADER))
        self._slots.clear()
        self._live, self._end = 0, len(HEADER)

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._lock)

    @property
    def size(self) -> int:
        """Bytes in the file, dead ones included."""
        return self._end

    def _append(self, frame: bytes) -> None:
        written = os.pwrite(self._fd, frame, self._end)
        if written != len(frame):
            # A torn record in the middle would hide everything after it: take it back.
            os.ftruncate(self._fd, self._end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += written

    def _note(self, call_id: CallId, slot: _Slot | None) -> None:
        before = self._slots.pop(call_id, None)
        if before is not None:
            self._live -= before.size
        if slot is not None:
            self._slots[call_id] = slot
            self._live += slot.size

    def _compact(self) -> None:
        """Copy what lives to a new file and rename it over the old: at every moment one whole journal has the name."""
        path = self._path.with_suffix(".new")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalFault(f"{path}: {error.strerror}") from error
        slots: dict[CallId, _Slot] = {}
        try:
            end = os.write(fd, HEADER)
            for call_id, slot in sorted(self._slots.items(), key=lambda item: item[1].offset):
                if os.write(fd, os.pread(self._fd, slot.size, slot.offset)) != slot.size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                slots[call_id] = _Slot(end, slot.size)
                end += slot.size
            os.rename(path, self._path)
        except OSError as error:
            os.close(fd)
            raise JournalFault(f"{path}: {error.strerror}") from error
        os.close(self._fd)
        self._fd, self._slots, self._end = fd, slots, end

    def _recover(self) -> Recovery:
        size = os.fstat(self._fd).st_size
        if size == 0:
            self._end = os.pwrite(self._fd, HEADER, 0)
            return Recovery(calls=0)
        data = memoryview(os.pread(self._fd, size, 0))
        self._end = len(HEADER)
        if bytes(data[: self._end]) != HEADER:
            return self._start_anew("no journal of this version")
        while self._end < size:
            body = _body_at(data, self._end)
            if body is None:
                return self._start_anew(f"torn or damaged at byte {self._end} of {size}")
            kind, name_length = BODY.unpack_from(body)
            call_id = CallId(bytes(body[BODY.size : BODY.size + name_length]).decode("utf-8", "surrogatepass"))
            frame_size = FRAME.size + len(body)
            self._note(call_id, _Slot(self._end, frame_size) if kind == CALL else None)
            self._end += frame_size
        return Recovery(calls=len(self._slots))

    def _start_anew(self, damage: str) -> Recovery:
        """Keep the damaged file under another name and go on with a new one that holds what could be read."""
        aside = _free_name(self._path)
        os.rename(self._path, aside)
        self._compact()
        return Recovery(len(self._slots), damage, aside)


def _body_at(data: memoryview, offset: int) -> memoryview | None:
    """The body of the record whose frame is at `offset`; None where there is no whole and unharmed one."""
    start = offset + FRAME.size
    if start > len(data):
        return None
    length, checksum = FRAME.unpack_from(data, offset)
    body = data[start : start + length]
    if length < BODY.size or len(body) != length or zlib.crc32(body) != checksum:
        return None
    return body


def _encoded(call_id: CallId) -> bytes:
    return call_id.encode("utf-8", "surrogatepass")


def _free_name(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return candidate
