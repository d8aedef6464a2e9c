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
When two thirds of a file that has grown past 4 MiB are dead, the living records are copied to a new file, a few with
every record that is put: all of 10,000 at once take 40 ms, in which no command is answered. What is put meanwhile goes
into both, into the old one first. The new file gets the name when everything is in it; up to then it is nobody's, and
the old one is whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import threading
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
AT_FDCWD, RENAME_EXCHANGE = -100, 2
_LIBC = ctypes.CDLL(None)
COMPACT_ABOVE = 4 << 20
DEAD = 3
"""How many times what lives a file is, at most: with 2, each command at 4,500 calls standing copied a record, 10 us."""
SHARE = 4
"""Records copied with each one that is put: 20 us."""


class JournalFault(OurFault):
    label = "journal"


class Recovery(msgspec.Struct, frozen=True):
    """What opening found: `calls` that live, and what was wrong with the file, in words, or None."""

    calls: int
    damage: str | None = None
    set_aside: Path | None = None


class _Slot(msgspec.Struct, frozen=True, gc=False):
    """Where a living record's frame lies in the file."""

    offset: int
    size: int


class _File:
    """Frames one after the other, and where the living ones are, in the order they were put."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.end = 0
        self.slots: dict[CallId, _Slot] = {}
        self.live = 0
        """Bytes of living frames."""

    def append(self, data: bytes) -> None:
        """All of it or nothing. Raises OSError."""
        written = os.pwrite(self.fd, data, self.end)
        if written != len(data):
            # A torn record in the middle would hide everything after it: take it back.
            os.ftruncate(self.fd, self.end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.end += written

    def read(self, slot: _Slot, skip: int = 0) -> bytes:
        return os.pread(self.fd, slot.size - skip, slot.offset + skip)

    def note(self, call_id: CallId, slot: _Slot | None) -> None:
        """The call's living frame is there now; None: it has none."""
        before = self.slots.pop(call_id, None)
        if before is not None:
            self.live -= before.size
        if slot is not None:
            self.slots[call_id] = slot
            self.live += slot.size


class _Copy:
    """The living frames of a file on their way into a new one, which is to take its place."""

    def __init__(self, source: _File, path: Path) -> None:
        """Raises OSError."""
        self.file = _File(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        self._source = source
        self._path = path
        self._left = list(reversed(source.slots))
        try:
            self.file.append(HEADER)
        except OSError:
            self.give_up()
            raise

    @property
    def complete(self) -> bool:
        return not self._left

    def put(self, call_id: CallId, frame: bytes, *, dead: bool) -> None:
        """What was put into the source. Raises OSError."""
        if dead and call_id not in self.file.slots:
            return
        self.file.append(frame)
        self.file.note(call_id, None if dead else _Slot(self.file.end - len(frame), len(frame)))

    def advance(self, count: int) -> None:
        """Look at so many more calls. Raises OSError."""
        runs: list[_Slot] = []
        copied, end = {}, self.file.end
        for call_id in self._left[: -count - 1 : -1]:
            slot = self._source.slots.get(call_id)
            # Gone, or changed since the copy was begun and therefore here.
            if slot is None or call_id in self.file.slots:
                continue
            if runs and runs[-1].offset + runs[-1].size == slot.offset:
                runs[-1] = _Slot(runs[-1].offset, runs[-1].size + slot.size)
            else:
                runs.append(slot)
            copied[call_id] = _Slot(end, slot.size)
            end += slot.size
        self.file.append(b"".join(map(self._source.read, runs)))
        for call_id, slot in copied.items():
            self.file.note(call_id, slot)
        del self._left[-count:]

    def give_up(self) -> None:
        os.close(self.file.fd)
        with contextlib.suppress(OSError):
            os.unlink(self._path)


class Journal:
    """Open for as long as the daemon runs; a second daemon on the same directory is refused."""

    def __init__(self, directory: Path, compact_above: int = COMPACT_ABOVE) -> None:
        self._path = directory / "journal"
        self._compact_above = compact_above
        self._copy: _Copy | None = None
        self._not_before = 0
        """How large the file is to be before another copy is tried: the last one failed."""
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
            self._file = _File(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.recovery = self._recover()
        except OSError as error:
            os.close(self._lock)
            raise JournalFault(f"{self._path}: {error.strerror}") from error

    def records(self) -> Iterator[bytes]:
        """The last state of every call that lives."""
        for call_id, slot in self._file.slots.items():
            yield self._file.read(slot, FRAME.size + BODY.size + len(_encoded(call_id)))

    def put(self, call_id: CallId, record: bytes | None) -> None:
        """Remember the call's state, or with None that it is gone. Raises JournalFault when it is not whole on file,
        or when dead records could not be thrown out."""
        name = _encoded(call_id)
        body = BODY.pack(TOMBSTONE if record is None else CALL, len(name)) + name + (record or b"")
        frame = FRAME.pack(len(body), zlib.crc32(body)) + body
        file = self._file
        try:
            file.append(frame)
        except OSError as error:
            raise JournalFault(f"{self._path}: {error.strerror}") from error
        file.note(call_id, None if record is None else _Slot(file.end - len(frame), len(frame)))
        if self._copy is not None or file.end > max(self._compact_above, DEAD * file.live, self._not_before):
            self._compact(call_id, frame, dead=record is None)

    def erase(self) -> None:
        """Forget every call (`--flush`)."""
        self._give_up()
        os.ftruncate(self._file.fd, len(HEADER))
        self._file.slots.clear()
        self._file.live, self._file.end = 0, len(HEADER)

    def close(self) -> None:
        self._give_up()
        os.close(self._file.fd)
        os.close(self._lock)

    @property
    def size(self) -> int:
        """Bytes in the file, dead ones included."""
        return self._file.end

    def _compact(self, call_id: CallId, frame: bytes, *, dead: bool) -> None:
        """Begin a copy or go on with it; the frame is what has just been put."""
        try:
            if self._copy is None:
                self._copy = self._new_copy()
            else:
                self._copy.put(call_id, frame, dead=dead)
            self._copy.advance(SHARE)
            if self._copy.complete:
                self._take_over(self._copy)
        except OSError as error:
            self._give_up()
            self._not_before = 2 * self._file.end
            raise JournalFault(f"{self._path}: dead records stay: {error.strerror}") from error

    def _new_copy(self) -> _Copy:
        return _Copy(self._file, self._path.with_suffix(".new"))

    def _take_over(self, copy: _Copy) -> None:
        """At every moment one whole journal has the name."""
        new = self._path.with_suffix(".new")
        if _exchange(new, self._path):
            with contextlib.suppress(OSError):
                os.unlink(new)
        else:
            os.rename(new, self._path)
        replaced, self._file = self._file, copy.file
        self._copy, self._not_before = None, 0
        threading.Thread(target=_let_go, args=(replaced.fd,), daemon=True).start()

    def _give_up(self) -> None:
        if self._copy is not None:
            self._copy.give_up()
            self._copy = None

    def _recover(self) -> Recovery:
        file = self._file
        size = os.fstat(file.fd).st_size
        if size == 0:
            file.append(HEADER)
            return Recovery(calls=0)
        data = memoryview(os.pread(file.fd, size, 0))
        file.end = len(HEADER)
        if bytes(data[: file.end]) != HEADER:
            return self._start_anew("no journal of this version")
        while file.end < size:
            body = _body_at(data, file.end)
            if body is None:
                return self._start_anew(f"torn or damaged at byte {file.end} of {size}")
            kind, name_length = BODY.unpack_from(body)
            call_id = CallId(bytes(body[BODY.size : BODY.size + name_length]).decode("utf-8", "surrogatepass"))
            frame_size = FRAME.size + len(body)
            file.note(call_id, _Slot(file.end, frame_size) if kind == CALL else None)
            file.end += frame_size
        return Recovery(calls=len(file.slots))

    def _start_anew(self, damage: str) -> Recovery:
        """Keep the damaged file under another name and go on with a new one that holds what could be read."""
        aside = _free_name(self._path)
        os.rename(self._path, aside)
        copy = self._new_copy()
        copy.advance(len(self._file.slots))
        self._take_over(copy)
        return Recovery(len(self._file.slots), damage, aside)


def _let_go(fd: int) -> None:
    """Giving 32 MiB of page cache back takes 8 ms, more while the disk is writing them: behind everything else."""
    # Of this thread alone (sched(7): Linux keeps nice values per thread).
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    os.close(fd)


def _exchange(one: Path, other: Path) -> bool:
    """Let two files have each other's name. False: not both are there, or the file system cannot.

    ext4 writes out what is renamed over another file, 6 to 20 ms for 30 MiB; what is exchanged it does not.
    """
    return bool(_LIBC.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


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
