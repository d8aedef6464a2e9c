"""`rtprelay ng` and `rtprelay top`: what they ask for, what they show, and both against a relay process."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rtprelay.cli import ng
from rtprelay.cli.top import Sample, fetch, measure, screen
from tests.loopback import HOST
from tests.unit.process_rig import PATIENCE, PROGRAM, Party, Relay


def rtprelay(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


# --- ng ---


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ping", {"command": "ping"}),
        ("query --call-id c --from-tag=a", {"command": "query", "call-id": "c", "from-tag": "a"}),
        ("subscribe request --call-id c", {"command": "subscribe request", "call-id": "c"}),
        ("block DTMF --call-id c --all", {"command": "block DTMF", "call-id": "c", "flags": ["all"]}),
        ("delete --to-tag --call-id c", {"command": "delete", "flags": ["to-tag"], "call-id": "c"}),
        ("answer --to-tag b --from-tag a", {"command": "answer", "to-tag": "b", "from-tag": "a"}),
        ("offer --trust-address --call-id c", {"command": "offer", "flags": ["trust-address"], "call-id": "c"}),
        ("offer --flags trust-address", {"command": "offer", "flags": ["trust-address"]}),
        ("offer --replace origin --replace SDP-version", {"command": "offer", "replace": ["origin", "SDP-version"]}),
        ("subscribe request --from-tags a", {"command": "subscribe request", "from-tags": ["a"]}),
        ('offer --codec {"accept":["all"]}', {"command": "offer", "codec": {"accept": ["all"]}}),
        ('offer --received-from ["IP4","192.0.2.1"]', {"command": "offer", "received-from": ["IP4", "192.0.2.1"]}),
        ("whatever --is new", {"command": "whatever", "is": "new"}),
    ],
)
def test_a_command_line_is_a_request(line: str, message: dict[str, Any]) -> None:
    assert ng.request(line.split()) == message


@pytest.mark.parametrize("line", ["", "offer --call-id", "offer stray --call-id c", "offer --codec {"])
def test_what_is_no_request_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ng.main(line.split()) == 2
    assert capsys.readouterr().err.startswith("rtprelay ng: ")


def test_an_sdp_gets_the_line_ends_of_sdp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.sdp").write_bytes(b"v=0\no=- 1 1 IN IP4 192.0.2.1\r\n\n")
    text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n"
    assert ng.request(["offer", str(tmp_path / "x.sdp")]) == {"command": "offer", "sdp": text}
    monkeypatch.setattr(sys, "stdin", io.StringIO("v=0\n"))
    assert ng.request(["offer", "-"])["sdp"] == "v=0\r\n"


@pytest.mark.parametrize("how", [(), ("--bencode",), ("--tcp",), ("--tcp", "--bencode")])
def test_a_call_is_made_by_hand(how: tuple[str, ...], tmp_path: Path) -> None:
    with Party() as party, Relay(tmp_path, "--listen-tcp-ng=127.0.0.1:0") as relay:
        port = relay.listening["tcp-ng" if "--tcp" in how else "ng"]
        to = ("ng", *how, "--server", f"127.0.0.1:{port}")
        offer = rtprelay(*to, "offer", "--call-id", "c", "--from-tag", "a", "-", stdin=party.sdp)
        assert (offer.returncode, offer.stderr) == (0, "result: ok\n")
        assert "m=audio " in offer.stdout
        answer = (*to, "--json", "answer", "--call-id=c", "--from-tag=a", "--to-tag=b", "-")
        assert "m=audio " in json.loads(rtprelay(*answer, stdin=party.sdp).stdout)["sdp"]
        assert list(json.loads(rtprelay(*to, "query", "--call-id", "c").stdout)["tags"]) == ["a", "b"]
        assert rtprelay(*to, "cli", "--body", "list maxsessions").stdout.endswith(": -1\n")
        unknown = rtprelay(*to, "query", "--call-id", "nobody")
        assert (unknown.returncode, json.loads(unknown.stdout)["error-reason"]) == (1, "Unknown call-id")


def test_no_reply_is_told(tmp_path: Path) -> None:
    with Party() as silent:
        asked = rtprelay("ng", "--timeout", "0.1", "--server", f"{HOST}:{silent.getsockname()[1]}", "ping")
    assert (asked.returncode, "timed out" in asked.stderr) == (1, True)


# --- top ---


def flow(local: str, packets: int, dropped: int = 0, lost: int = 0, jitter: float = 0.0) -> dict[str, Any]:
    ssrcs = [{"lost": lost, "packets": packets, "jitter": jitter}] if packets else []
    return {"local": local, "packets": packets, "dropped": dropped, "in_kernel": True, "ssrcs": ssrcs}


def sample(when: float, *flows: dict[str, Any], **reasons: int) -> Sample:
    counters = dict.fromkeys(
        [f"{kind}rate_{path}" for kind in ("packet", "byte", "error") for path in ("kernel", "user")], 0
    )
    counters |= {"media_kernel": 1, "media_userspace": 0, "media_mixed": 0, "byterate_kernel": 125_000}
    return Sample(when, {"total": 7, "ipv4": 7, "ipv6": 0, "mixed": 0}, counters, list(flows), reasons)


def test_the_worst_port_is_on_top() -> None:
    before = sample(10.0, flow("quiet", 0), flow("lossy", 100), flow("fine", 100), flow("attacked", 100, dropped=5))
    after = sample(
        12.0,
        flow("quiet", 0),
        flow("lossy", 190, lost=10, jitter=0.002),
        flow("fine", 200),
        flow("attacked", 200, dropped=205),
        flow("new", 1000),
    )
    ports = measure(before, after, 2.0)
    assert [port.local for port in ports][:3] == ["lossy", "attacked", "fine"]
    lossy, attacked, fine = ports[:3]
    assert (lossy.packets, lossy.lost, lossy.jitter) == (45.0, 5.0, 2.0)
    assert attacked.refused == 100.0
    assert (fine.packets, fine.lost) == (50.0, 0.0)
    assert {port.packets for port in ports[3:]} == {0.0}


def test_a_screen_shows_the_relay_and_fits(tmp_path: Path) -> None:
    lines = screen("here", sample(1.0, drop_x=5), sample(2.0, flow("p", 1), drop_x=25, drop_y=0), 100, 20)
    text = "\n".join(lines)
    assert "calls 7 " in lines[0]
    assert "1.00 Mbit/s" in text
    assert [line.split() for line in lines if "drop_" in line] == [["drop_x", "20"]]
    assert screen("here", sample(1.0), sample(2.0, *(flow(str(n), 1) for n in range(99))), 40, 10)[-1:]
    assert all(len(line) <= 40 for line in screen("here", sample(1.0), sample(2.0), 40, 10))


def test_top_once_is_for_scripts(tmp_path: Path) -> None:
    with Party() as caller, Party() as callee, Relay(tmp_path) as relay:
        to_callee, _ = relay.call("c", caller, callee)
        caller.say(to_callee)
        callee.recv(2000)
        shown = rtprelay("top", "--once", "--interval", "0.1", "--server", f"127.0.0.1:{relay.cli}")
        assert "calls 1 " in shown.stdout
        assert f"{HOST}:{to_callee} " in shown.stdout
        taken = fetch(lambda line: json.loads(relay.ctl("--json", line)), 1.0)
        assert len(taken.flows) == 4
    gone = rtprelay("top", "--once", "--server", "127.0.0.1:1")
    assert (gone.returncode, "no answer from 127.0.0.1:1" in gone.stderr) == (1, True)


def test_top_lives_until_q(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    with Relay(tmp_path) as relay:
        environment = {**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"}
        live = subprocess.Popen(
            [*PROGRAM, "top", "--interval", "0.05", "--server", f"127.0.0.1:{relay.cli}"],
            stdin=its,
            stdout=its,
            stderr=its,
            env=environment,
        )
        os.close(its)
        try:
            seen = b""
            while b"calls 0" not in seen:
                assert select.select([ours], [], [], PATIENCE)[0], seen
                seen += os.read(ours, 65536)
            os.write(ours, b"q")
            assert live.wait(PATIENCE) == 0
        finally:
            live.kill()
            live.wait()
            os.close(ours)
