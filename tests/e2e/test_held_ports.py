"""How the relay holds its media ports, and lives with other programs' sockets.

caller 192.0.2.2 == RTP ==> west [ kernel flows | relay: few sockets, many ports ] east == RTP ==> callee 198.51.100.2
                                  another program: sockets at some of these ports
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.harness import sdp
from tests.e2e.harness.stage import Stage, open_stage
from tests.e2e.ng import NgClient

NOBODY = "198.51.100.200"


def descriptors(stage: Stage) -> int:
    assert stage.relay.program
    return len(list(Path(f"/proc/{stage.relay.program.pid}/fd").iterdir()))


def bound(stage: Stage) -> set[int]:
    """The ports at which there are sockets."""
    table = stage.lab.relay.run("cat", "/proc/self/net/udp").splitlines()[1:]
    return {int(row.split()[1].partition(":")[2], 16) for row in table}


def set_up(ng: NgClient, call_id: str) -> None:
    """A call whose parties nobody plays."""
    ng.offer(call_id, "a", sdp.describe(NOBODY, [5000]), direction=["west", "east"])
    ng.answer(call_id, "a", "b", sdp.describe(NOBODY, [5002]))


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("calls", "files"), [(150, 500), pytest.param(10_000, 4096, marks=pytest.mark.slow)])
def test_calls_are_not_bounded_by_open_files(kind: str, tmp_path: Path, calls: int, files: int) -> None:
    """Four ports a call; neither the relay nor, after a `kill -9`, its successor has a socket for each."""
    if kind not in ("ebpf", "tc"):
        pytest.skip("in userspace each port has a socket")
    with (
        open_stage(kind, tmp_path, ports=(10000, 31999), open_files=files) as stage,
        stage.relay.client() as ng,
        stage.party(stage.lab.caller) as a,
        stage.party(stage.lab.callee) as b,
    ):
        first = stage.call_over_ng(ng, "first", a, b)
        for number in range(1, calls):
            set_up(ng, f"call-{number}")
        stage.relay.kill()
        stage.relay.start()
        assert f"total: {calls}" in stage.relay.console("list numsessions")
        assert descriptors(stage) < files < 4 * calls
        first.talk(20)
        last = stage.call_over_ng(ng, "last", a, b)
        last.talk(20)
        assert "many open files" not in stage.relay.log.read_text()


def test_ports_of_another_program_are_passed_over(kind: str, tmp_path: Path) -> None:
    """One bound at the RTP port of a pair, one at the RTCP port of another: two of four pairs are left."""
    with (
        open_stage(kind, tmp_path, ports=(31000, 31007)) as stage,
        stage.relay.client() as ng,
        ExitStack() as stack,
    ):
        foreign = [stack.enter_context(stage.lab.relay.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for port, sock in zip((31000, 31003), foreign, strict=True):
            sock.bind((stage.lab.west.ip4, port))
        stage.relay.stop()
        stage.relay.start()
        call = stage.call_over_ng(ng, "passes-over")
        stack.callback(call.close)
        assert {call.a_target[1], call.b_target[1]} == {31004, 31006}
        call.talk(10)
        assert ng.command("offer", {"call-id": "none", "from-tag": "a", "sdp": sdp.describe(NOBODY, [5000])}).error()
        with stage.lab.relay.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for sock in foreign:
                sock.settimeout(5)
                sender.sendto(b"its own", sock.getsockname())
                assert sock.recv(100) == b"its own"


def test_where_other_programs_would_want_for_ports_each_has_a_socket(kind: str, tmp_path: Path) -> None:
    """Media ports on nearly all of the kernel's ephemeral ones: they cannot be reserved, so they are bound."""
    if kind not in ("ebpf", "tc"):
        pytest.skip("in userspace each port has a socket")
    with (
        open_stage(kind, tmp_path, ports=(30000, 39999)) as stage,
        stage.party(stage.lab.caller) as a,
        stage.party(stage.lab.callee) as b,
    ):
        assert "sockets=shared" in stage.relay.log.read_text()
        stage.relay.stop()
        stage.lab.relay.sysctl("net.ipv4.ip_local_reserved_ports", "")
        stage.lab.relay.sysctl("net.ipv4.ip_local_port_range", "30000 41000")
        stage.relay.start()
        assert 'sockets="one for each port" reason="media ports leave too few' in stage.relay.log.read_text()
        with stage.relay.client() as ng:
            call = stage.call_over_ng(ng, "bound", a, b)
            ports = {port + number for _, port in (call.a_target, call.b_target) for number in (0, 1)}
            assert ports <= bound(stage)
            call.talk(20)
            ng.delete("bound")
            assert not ports & bound(stage)
