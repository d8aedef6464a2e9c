"""The libbpf wrapper against the real kernel: maps, links, tc, and what an error says."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtprelay.errors import BackendFault
from rtprelay.kernel.libbpf import (
    BPF_F_MMAPABLE,
    BPF_NOEXIST,
    Link,
    Map,
    Object,
    Program,
    tc_attach,
    tc_detach,
    tc_program,
)
from tests.bpf.conftest import require_programs
from tests.bpf.plane import Plane, index
from tools.netns import Namespace, veth

HASH, ARRAY = 1, 2
pytestmark = pytest.mark.root


@pytest.fixture
def table() -> Iterator[Map]:
    require_programs()
    with Map.create(HASH, "test_table", 4, 8, 4096) as made:
        yield made


@pytest.fixture
def pins() -> Iterator[Path]:
    require_programs()
    path = Path(f"/sys/fs/bpf/rtprelay-test-{os.getpid()}")
    path.mkdir()
    yield path
    for pin in path.iterdir():
        pin.unlink()
    path.rmdir()


def test_a_map_keeps_what_it_is_given(table: Map) -> None:
    assert (table.name, table.key_size, table.value_size, table.max_entries) == ("test_table", 4, 8, 4096)
    table.update(b"key1", b"value..1")
    assert table.lookup(b"key1") == b"value..1"
    assert table.lookup(b"key2") is None
    assert table.delete(b"key1")
    assert not table.delete(b"key1")
    assert (list(table.items()), list(table.keys())) == ([], [])


def test_batches_carry_more_than_one_read(table: Map) -> None:
    entries = {index(i): (i * i).to_bytes(8, "little") for i in range(3000)}
    table.update_batch(entries)
    assert dict(table.items(batch=64)) == entries
    assert set(table.keys()) == set(entries)
    table.delete_batch(list(entries)[:2999])
    assert dict(table.items()) == {index(2999): (2999 * 2999).to_bytes(8, "little")}
    table.update_batch({})
    table.delete_batch([])


def test_an_error_says_what_was_tried_and_why_not(table: Map) -> None:
    table.update(b"key1", bytes(8))
    with pytest.raises(BackendFault, match="update test_table: File exists"):
        table.update(b"key1", bytes(8), BPF_NOEXIST)
    with pytest.raises(BackendFault, match="No such file"):
        Map.open(Path("/sys/fs/bpf/rtprelay-there-is-no-such-map"))
    with pytest.raises(BackendFault, match=r"no-such\.bpf\.o"):
        Object(Path("/no-such.bpf.o"))


def test_keys_and_values_of_a_wrong_size_never_reach_the_kernel(table: Map) -> None:
    with pytest.raises(ValueError, match="4 bytes, not 3"):
        table.lookup(b"key")
    with pytest.raises(ValueError, match="8 bytes, not 5"):
        table.update(b"key1", b"short")


def test_memory_of_an_array_is_the_array(table: Map) -> None:
    with Map.create(ARRAY, "test_array", 4, 12, 1000, BPF_F_MMAPABLE) as array, array.mmap(writable=True) as memory:
        array.update(index(1), b"abcdefghijkl")
        assert memory[16:28] == b"abcdefghijkl"
        memory[32:44] = b"ABCDEFGHIJKL"
        assert array.lookup(index(2)) == b"ABCDEFGHIJKL"


def test_a_pinned_map_is_found_again(table: Map, pins: Path) -> None:
    table.update(b"key1", b"value..1")
    table.pin(pins / "table")
    with Map.open(pins / "table") as found:
        assert (found.id, found.lookup(b"key1")) == (table.id, b"value..1")


def test_a_refused_program_brings_the_verifiers_words_along(tmp_path: Path) -> None:
    require_programs()
    clang = shutil.which("clang-16")
    if clang is None:
        pytest.skip("clang-16 is not installed")
    source, target = tmp_path / "bad.c", tmp_path / "bad.bpf.o"
    source.write_text('__attribute__((section("xdp"))) int bad(int *ctx) { return *(int *) (long) ctx[0]; }\n')
    subprocess.run([clang, "-O2", "-target", "bpf", "-c", str(source), "-o", str(target)], check=True)
    with (
        Object(target) as refused,
        pytest.raises(BackendFault, match=r"(?s)bad\.bpf\.o: Permission denied.*R1 pointer arithmetic"),
    ):
        refused.load()


def test_attachments_outlive_their_maker_and_can_be_replaced_and_taken_off(plane: Plane, pins: Path) -> None:
    xdp, tc = plane.programs["relay_xdp"], plane.programs["relay_tc"]
    with Namespace("libbpf-a") as here, Namespace("libbpf-b") as there:
        veth(here, "near", there, "far")
        ifindex = here.call(lambda: socket.if_nametoindex("near"))

        with here.call(lambda: Link.xdp(xdp, ifindex)) as link:
            link.pin(pins / "link")
        with Link.open(pins / "link") as found:
            assert (found.ifindex, found.program_id) == (ifindex, xdp.id)
            with pytest.raises(BackendFault, match="attach relay_xdp"):
                here.call(lambda: Link.xdp(xdp, ifindex))
            with Plane() as successor:
                found.update(successor.programs["relay_xdp"])
                assert found.program_id == successor.programs["relay_xdp"].id
            found.detach()
        assert "xdp" not in here.ip("link", "show", "near")

        assert here.call(lambda: tc_program(ifindex)) is None
        for _ in range(2):
            here.call(lambda: tc_attach(ifindex, tc))
        assert here.call(lambda: tc_program(ifindex)) == tc.id
        for _ in range(2):
            here.call(lambda: tc_detach(ifindex))
        assert here.call(lambda: tc_program(ifindex)) is None


def test_a_pinned_program_is_found_again(plane: Plane, pins: Path) -> None:
    plane.programs["relay_tc"].pin(pins / "program")
    with Program.open(pins / "program") as found:
        assert found.id == plane.programs["relay_tc"].id
