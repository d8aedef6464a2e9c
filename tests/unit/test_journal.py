"""The journal keeps what was promised: last state per call, tombstones, damage, compaction, one owner."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.store.journal import HEADER, SHARE, Journal, JournalFault
from rtprelay.values import CallId


def reopened(directory: Path) -> list[bytes]:
    journal = Journal(directory)
    try:
        return list(journal.records())
    finally:
        journal.close()


def test_an_empty_directory_gives_an_empty_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state")
    assert list(journal.records()) == []
    assert journal.recovery.damage is None
    journal.close()


def test_the_last_state_of_a_call_is_what_comes_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(CallId("a"), b"offer")
    journal.put(CallId("b"), b"other")
    journal.put(CallId("a"), b"answer")
    journal.close()
    assert reopened(tmp_path) == [b"other", b"answer"]


def test_a_tombstone_ends_a_call(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(CallId("a"), b"1")
    journal.put(CallId("a"), None)
    journal.put(CallId("never seen"), None)
    journal.close()
    assert reopened(tmp_path) == []


@pytest.mark.parametrize("call_id", ["", "a b\n", "\N{SNOWMAN}", "\udcff\ud800", "x" * 65535])
def test_any_call_id_is_a_key(tmp_path: Path, call_id: str) -> None:
    journal = Journal(tmp_path)
    journal.put(CallId(call_id), b"kept")
    journal.put(CallId("gone"), b"x")
    journal.put(CallId("gone"), None)
    journal.close()
    assert reopened(tmp_path) == [b"kept"]


def test_a_record_survives_a_process_killed_without_warning(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from rtprelay.store.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.put('a', b'promised'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    finished = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=30, check=False)
    assert finished.returncode == -9
    assert reopened(tmp_path) == [b"promised"]


def test_a_journal_cut_at_any_byte_gives_back_every_whole_record_before_the_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    ends = [journal.size]
    for name in ("a", "b", "c"):
        journal.put(CallId(name), name.encode() * 5)
        ends.append(journal.size)
    journal.close()
    whole = (tmp_path / "journal").read_bytes()
    for cut in range(len(HEADER), len(whole)):
        directory = tmp_path / f"cut-{cut}"
        directory.mkdir()
        (directory / "journal").write_bytes(whole[:cut])
        survivors = sum(end <= cut for end in ends[1:])
        assert reopened(directory) == [b"aaaaa", b"bbbbb", b"ccccc"][:survivors]
        assert (directory / "journal.damaged-1").exists() == (cut not in ends)


def test_a_flipped_bit_ends_the_good_prefix_and_the_file_is_set_aside(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(CallId("a"), b"first")
    middle = journal.size + 12
    journal.put(CallId("b"), b"second")
    journal.put(CallId("c"), b"third")
    journal.close()
    bad = bytearray((tmp_path / "journal").read_bytes())
    bad[middle] ^= 1
    (tmp_path / "journal").write_bytes(bad)

    journal = Journal(tmp_path)
    assert list(journal.records()) == [b"first"]
    assert journal.recovery.damage is not None
    assert journal.recovery.set_aside == tmp_path / "journal.damaged-1"
    assert (tmp_path / "journal.damaged-1").read_bytes() == bytes(bad)
    journal.put(CallId("d"), b"fourth")
    journal.close()
    assert reopened(tmp_path) == [b"first", b"fourth"]


@pytest.mark.parametrize("content", [b"x", b"not a journal at all", HEADER[:8] + b"\xff\0\0\0"])
def test_a_file_that_is_no_journal_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal").write_bytes(content)
    (tmp_path / "journal.damaged-1").write_bytes(b"an older one")
    journal = Journal(tmp_path)
    assert list(journal.records()) == []
    assert journal.recovery.damage == "no journal of this version"
    journal.close()
    assert (tmp_path / "journal.damaged-2").read_bytes() == content


def test_dead_records_are_thrown_out_and_living_ones_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, compact_above=10_000)
    journal.put(CallId("lives"), b"long")
    for turn in range(1000):
        journal.put(CallId("changes"), b"%d" % turn * 20)
        assert journal.size <= 10_200
    journal.close()
    assert reopened(tmp_path) == [b"long", b"999" * 20]


def test_dead_records_are_thrown_out_a_few_with_each_record_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, compact_above=1000)
    for number in range(100):
        journal.put(CallId(f"{number}"), b"%d" % number * 20)
    read, whole = [0], os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        read[-1] += size
        return whole(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    sizes = []
    for turn in range(200):
        read.append(0)
        journal.put(CallId("7"), b"%d" % turn * 60)
        sizes.append(journal.size)
    assert 0 < max(read) <= SHARE * 200
    assert sum(map(bool, read)) >= 99 // SHARE
    assert sizes[-1] < max(sizes)
    journal.close()
    assert len(reopened(tmp_path)) == 100


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_daemon_killed_at_any_step_of_throwing_out_dead_records_has_kept_its_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    """What has the journal's name before and after every system call: the state before the put, or the one after it.

    `exchanges`: whether the file system can exchange two names.
    """
    if not exchanges:
        monkeypatch.setattr("rtprelay.store.journal._exchange", lambda *_: False)
    monkeypatch.setattr("rtprelay.store.journal.SHARE", 2)
    directory, steps = tmp_path / "state", itertools.count()
    expected: dict[CallId, bytes] = {}
    before: list[bytes] = []
    reached: set[str] = set()

    def killed_here() -> None:
        crashed = tmp_path / f"{next(steps)}"
        shutil.copytree(directory, crashed)
        assert sorted(reopened(crashed)) in (before, sorted(expected.values()))
        assert not list(crashed.glob("*.damaged-*"))

    def watch(name: str) -> None:
        whole = getattr(os, name)

        def step(*arguments: Any) -> Any:
            if not watching:
                return whole(*arguments)
            watching.clear()
            reached.add(name)
            killed_here()
            result = whole(*arguments)
            killed_here()
            watching.add(True)
            return result

        monkeypatch.setattr(os, name, step)

    journal = Journal(directory, compact_above=400)
    watching: set[bool] = set()
    for name in ("pwrite", "rename", "unlink"):
        watch(name)
    chance = random.Random(1)
    for turn in range(120):
        call_id = CallId(f"{chance.randrange(12)}")
        before = sorted(expected.values())
        record = None if chance.random() < 0.3 else b"%d " % turn * 5
        if record is None:
            expected.pop(call_id, None)
        else:
            expected[call_id] = record
        watching.add(True)
        journal.put(call_id, record)
        watching.clear()
    journal.close()
    assert reached == {"pwrite", "unlink" if exchanges else "rename"}
    assert sorted(reopened(directory)) == sorted(expected.values())


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_disk_too_full_to_throw_out_dead_records_is_told_of_once_and_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """`fails_at`: the write to the new file that does not fit; the first are its header and its first records."""
    monkeypatch.setattr("rtprelay.store.journal.SHARE", 2)
    journal = Journal(tmp_path, compact_above=1000)
    for number in range(8):
        journal.put(CallId(f"{number}"), b"%d" % number * 20)
    whole, files, room = os.pwrite, set[int](), [fails_at]

    def full(fd: int, data: bytes, offset: int) -> int:
        files.add(fd)
        if len(files) > 1 and fd != min(files) and data:
            room[0] -= 1
            if room[0] <= 0:
                return whole(fd, data[: len(data) // 2], offset)
        return whole(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    told = []
    for turn in range(20):
        try:
            journal.put(CallId("7"), b"%02d" % turn * 20)
        except JournalFault as fault:
            told.append(fault.reason)
    assert told == [f"{tmp_path}/journal: dead records stay: No space left on device"]
    assert not (tmp_path / "journal.new").exists()
    monkeypatch.setattr(os, "pwrite", whole)
    for turn in range(100):
        journal.put(CallId("7"), b"%02d" % turn * 20)
        assert journal.size < 4000
    journal.close()
    assert sorted(reopened(tmp_path)) == sorted([*(b"%d" % number * 20 for number in range(7)), b"99" * 20])


def test_a_second_daemon_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalFault, match="in use by another rtprelay"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalFault, match="file/state"):
        Journal(tmp_path / "file" / "state")


def test_a_full_disk_leaves_the_records_before_it_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.put(CallId("a"), b"kept")
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[: len(data) // 2], offset))
    with pytest.raises(JournalFault, match="No space left"):
        journal.put(CallId("b"), b"does not fit")
    monkeypatch.setattr(os, "pwrite", whole)
    journal.put(CallId("c"), b"fits again")
    journal.close()
    assert reopened(tmp_path) == [b"kept", b"fits again"]
    assert not (tmp_path / "journal.damaged-1").exists()


def test_erase_forgets_every_call(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(CallId("a"), b"1")
    journal.erase()
    journal.put(CallId("b"), b"2")
    journal.close()
    assert reopened(tmp_path) == [b"2"]


@given(st.integers(0, 2**32), st.integers(50, 2000))
def test_whatever_is_put_the_reopened_journal_equals_a_dictionary(seed: int, compact_above: int) -> None:
    chance = random.Random(seed)
    expected: dict[CallId, bytes] = {}
    with tempfile.TemporaryDirectory() as directory, mock.patch("rtprelay.store.journal.SHARE", 1 + seed % 3):
        journal = Journal(Path(directory), compact_above)
        for _ in range(60):
            call_id = CallId(chance.choice("abcde"))
            record = None if chance.random() < 0.3 else chance.randbytes(chance.randrange(80))
            journal.put(call_id, record)
            if record is None:
                expected.pop(call_id, None)
            else:
                expected[call_id] = record
        journal.close()
        again = Journal(Path(directory))
        assert sorted(again.records()) == sorted(expected.values())
        assert again.recovery.damage is None
        again.close()
