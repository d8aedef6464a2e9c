"""The relay as a process, on loopback, in userspace, without any privilege: start, media, crash, take-over, stop.

caller 127.x.y.z:a  <--->  rtprelay 127.x.y.z (an address of this run alone)  <--->  callee 127.x.y.z:b
                                ^ ng, console: ports of the kernel's choice
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback import HOST
from tests.unit.process_rig import CTL, PATIENCE, PROGRAM, Party, Relay


@pytest.fixture
def parties() -> Iterator[tuple[Party, Party]]:
    with Party() as caller, Party() as callee:
        yield caller, callee


def test_a_call_is_set_up_and_its_media_relayed_both_ways(tmp_path: Path, parties: tuple[Party, Party]) -> None:
    caller, callee = parties
    with Relay(tmp_path) as relay:
        assert relay.ask("ping") == {"result": "pong"}
        to_callee, to_caller = relay.call("c", caller, callee)
        for _ in range(5):
            assert caller.say(to_callee) == callee.recv(2000)
            assert callee.say(to_caller) == caller.recv(2000)
        assert "Current sessions total: 1" in relay.ctl("list", "numsessions")
        assert relay.ask("query", call_id="c")["totals"]["RTP"]["packets"] == 10
        relay.ask("delete", call_id="c", delete_delay=0)
        assert relay.ask("query", call_id="c")["error-reason"] == "Unknown call-id"
        assert relay.end(signal.SIGTERM) == 0


def test_a_killed_relays_calls_are_taken_over_by_the_next(tmp_path: Path, parties: tuple[Party, Party]) -> None:
    caller, callee = parties
    with Relay(tmp_path) as relay:
        to_callee, to_caller = relay.call("lives", caller, callee)
        relay.ask("offer", call_id="half-open", from_tag="a", sdp=caller.sdp)
        relay.call("gone", caller, callee)
        relay.ask("delete", call_id="gone", delete_delay=0)
        relay.end(signal.SIGKILL)
    with Relay(tmp_path, *relay.ports) as successor:
        assert sorted(successor.ask("list")["calls"]) == ["half-open", "lives"]
        assert caller.say(to_callee) == callee.recv(2000)
        assert callee.say(to_caller) == caller.recv(2000)
        assert successor.ask("delete", call_id="lives", delete_delay=0)["result"] == "ok"
        assert successor.ask("list")["calls"] == ["half-open"]


def test_an_orderly_stop_keeps_the_calls_for_the_next_start(tmp_path: Path, parties: tuple[Party, Party]) -> None:
    with Relay(tmp_path) as relay:
        relay.call("c", *parties)
        assert relay.end(signal.SIGINT) == 0
        assert any("stopping calls=1" in line for line in relay.lines)
    with Relay(tmp_path) as successor:
        assert successor.ask("list")["calls"] == ["c"]


def test_flush_forgets_everything(tmp_path: Path, parties: tuple[Party, Party]) -> None:
    with Relay(tmp_path) as relay:
        relay.call("c", *parties)
        flush = [*PROGRAM, "--config-file=none", "-t-1", "-i127.0.0.1", f"--state-dir={tmp_path}", "--flush"]
        running = subprocess.run(flush, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (running.returncode, "in use by another rtprelay" in running.stderr) == (1, True)
        relay.end(signal.SIGTERM)
        assert subprocess.run(flush, capture_output=True, timeout=PATIENCE, check=False).returncode == 0
    with Relay(tmp_path) as successor:
        assert successor.ask("list")["calls"] == []


def test_a_second_relay_on_the_same_state_does_not_start(tmp_path: Path) -> None:
    with Relay(tmp_path):
        second = Relay(tmp_path)
        assert second.end(0) == 1
        assert any("in use by another rtprelay" in line for line in second.lines)


def test_a_control_port_in_use_is_named_and_ends_the_start(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as occupant:
        occupant.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{occupant.getsockname()[1]}"
        relay = Relay(tmp_path, f"-n{address}")
        assert relay.end(0) == 1
        assert any(f"cannot listen on {address}: Address already in use" in line for line in relay.lines)


def test_a_wrong_configuration_is_told_without_a_traceback(tmp_path: Path) -> None:
    relay = Relay(tmp_path, "--tos=999")
    assert relay.end(0) == 2
    assert relay.lines == ["rtprelay: --tos: Expected int <= 255\n"]


def test_in_the_background_it_returns_when_it_answers_and_keeps_a_pid_file(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    started = subprocess.run(
        [
            *(*PROGRAM, "--config-file=none", "-t-1", f"-i{HOST}"),
            *(f"-n{HOST}:{port}", f"-p{pidfile}", f"--state-dir={tmp_path}"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    pid = int(pidfile.read_text())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.sendto(b"1 d7:command4:pinge", (HOST, port))
            assert client.recv(100) == b"1 d6:result4:ponge"
    finally:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while pidfile.exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not pidfile.exists()


def test_in_the_background_a_failed_start_is_told_in_the_foreground(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = subprocess.run(
        [*PROGRAM, "--config-file=none", "-t-1", "-i127.0.0.1", "-n127.0.0.1:0", f"--state-dir={tmp_path}/file/x"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert failed.returncode == 1
    assert "state directory" in failed.stderr


def test_the_service_manager_hears_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        with Relay(tmp_path) as relay:
            heard = {manager.recv(1000).split(b"\n")[0] for _ in range(4)}
            assert heard == {b"READY=1", b"WATCHDOG=1"}
            relay.end(signal.SIGTERM)
            manager.settimeout(1)
            last = b""
            while last != b"STOPPING=1":
                last = manager.recv(1000)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become somebody without any privilege")
def test_it_runs_as_a_user_without_any_privilege(tmp_path: Path, parties: tuple[Party, Party]) -> None:
    caller, callee = parties
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o055)
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    with Relay(state, program=(*nobody, "--no-new-privs", *PROGRAM)) as relay:
        to_callee, _ = relay.call("c", caller, callee)
        assert caller.say(to_callee) == callee.recv(2000)


def test_the_flag_debug_lets_everything_about_the_call_be_heard(tmp_path: Path) -> None:
    with Party() as caller, Relay(tmp_path) as quiet:
        quiet.ctl("set", "loglevel", "4")
        for call_id, flags in (("unheard", []), ("heard", ["debug"])):
            quiet.ask("offer", call_id=call_id, from_tag="a", sdp=caller.sdp, flags=flags)
            quiet.ask("delete", call_id=call_id, delete_delay=0)
        assert "[heard] call ended" in quiet.wait_for("call ended")


def test_ctl_without_a_relay_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        done = subprocess.run(
            [*CTL, "-ip", f"127.0.0.1:{port}", "list", "totals"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert f"no answer from 127.0.0.1:{port}" in done.stderr


def test_ctl_imports_nothing_but_the_standard_library() -> None:
    """It is started from scripts, hundreds of times: under 100 ms each."""
    program = "import sys, rtprelay.cli.ctl; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("rtprelay")}
    assert ours == {"rtprelay", "rtprelay.cli", "rtprelay.cli.ctl", "rtprelay.cli.grammar"}
    assert not {"asyncio", "msgspec", "structlog", "argparse"} & set(loaded)


def test_a_media_address_that_is_not_there_is_told_and_lets_proxies_fail_over(tmp_path: Path) -> None:
    with Relay(tmp_path, "-ivip/192.0.2.77") as relay, Party() as caller:
        (told,) = [line for line in relay.lines if "media address cannot be used" in line]
        assert "interface=vip address=192.0.2.77" in told
        reply = relay.ask("offer", call_id="c", from_tag="a", interface="vip", sdp=caller.sdp)
        assert reply == {"result": "error", "error-reason": "Ran out of ports"}
        assert "Cannot assign requested address" in relay.wait_for("port not opened")
