"""A relay process told things while it runs: by signals, by its console, by the ng command `cli`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from rtprelay.cli.completion import bash
from tests.unit.process_rig import CTL, PATIENCE, Party, Relay

NO_CALLS = "Current sessions own: 0\n"


def exchange(port: int, message: bytes) -> bytes:
    """Over TCP, until the relay has said as much as it wants to at once."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(message)
        return connection.recv(65535)


def turned_away(port: int) -> bool:
    try:
        return exchange(port, b"version\n") == b""
    except ConnectionError:
        return True


# --- cli over ng ---


def by_udp(relay: Relay) -> str:
    return str(relay.ask("cli", body="list numsessions")["response"])


def by_tcp(relay: Relay) -> str:
    answer = exchange(relay.listening["tcp-ng"], b"c d4:body16:list numsessions7:command3:clie")
    length, _, text = answer.removeprefix(b"c d8:response").partition(b":")
    return text[: int(length)].decode()


def by_http(relay: Relay) -> str:
    body = json.dumps({"command": "cli", "body": "list numsessions"}).encode()
    url = f"http://127.0.0.1:{relay.listening['http']}/ng-plain"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        decoded = json.load(reply)
    assert decoded["result"] == "ok"
    return str(decoded["response"])


@pytest.mark.parametrize("way", [by_udp, by_tcp, by_http])
def test_ng_leads_to_the_console(way: Callable[[Relay], str], tmp_path: Path) -> None:
    with Relay(tmp_path, "--listen-tcp-ng=127.0.0.1:0", "--listen-http=127.0.0.1:0") as relay:
        assert way(relay).startswith(NO_CALLS)


def test_the_console_over_ng_is_counted_and_harms_nobody(tmp_path: Path) -> None:
    with Relay(tmp_path) as relay:
        assert relay.ask("cli")["response"].startswith("Available sub-commands")
        assert relay.ask("cli", body="nonsense")["result"] == "ok"
        assert relay.ask("cli", body="x" * 5000)["result"] == "error"
        statistics = json.loads(relay.ctl("list", "jsonstats"))
        assert statistics["controlstatistics"]["totalclicount"] == 2
        assert relay.ask("ping") == {"result": "pong"}


# --- log level ---


def test_two_signals_change_the_log_level(tmp_path: Path) -> None:
    with Relay(tmp_path) as relay:
        for number, level in ((signal.SIGUSR2, 7), (signal.SIGUSR1, 6), (signal.SIGUSR1, 5)):
            relay.process.send_signal(number)
            deadline = time.monotonic() + PATIENCE
            while relay.ctl("list", "loglevel") != f"core = {level}\n":
                assert time.monotonic() < deadline


# --- reload ---


def configured(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_reload_changes_what_can_change_and_touches_no_call(tmp_path: Path) -> None:
    file = configured(tmp_path / "c.toml", "timeout = 60")
    with Party() as caller, Party() as callee, Relay(tmp_path, f"--config-file={file}") as relay:
        to_callee, _ = relay.call("c", caller, callee)
        configured(file, "timeout = 30", "log-level = 7", 'backend = "memory"', 'control-acl = ["cli=192.0.2.1"]')
        relay.process.send_signal(signal.SIGHUP)
        assert set(relay.wait_for("configuration reloaded").partition("changed=")[2].strip('"\n').split()) == {
            "timeout",
            "control-acl",
            "log-level",
        }
        assert "option=backend" in relay.wait_for("changes with the next start")
        assert relay.ask("cli", body="list timeout")["response"] == "TIMEOUT=30\n"
        assert relay.ask("cli", body="list loglevel")["response"] == "core = 7\n"
        assert turned_away(relay.cli)
        assert caller.say(to_callee) == callee.recv(2000)


def test_a_wrong_configuration_changes_nothing(tmp_path: Path) -> None:
    file = configured(tmp_path / "c.toml", "timeout = 60")
    with Relay(tmp_path, f"--config-file={file}") as relay:
        configured(file, "timeout = 30", "tos = 1000")
        relay.process.send_signal(signal.SIGHUP)
        assert "c.toml:2: tos: Expected int <= 255" in relay.wait_for("configuration not reloaded")
        assert relay.ctl("list", "timeout") == "TIMEOUT=60\n"
        file.unlink()
        relay.process.send_signal(signal.SIGHUP)
        relay.wait_for("configuration not reloaded")
        assert relay.ask("ping") == {"result": "pong"}


def test_tokens_are_read_again(tmp_path: Path) -> None:
    tokens = configured(tmp_path / "tokens", "first-token-of-all")
    ping = b"c d7:command4:pinge"

    def admitted(token: str) -> bool:
        url = f"http://127.0.0.1:{relay.listening['http']}/ng"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-rtpengine-ng"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, ping, headers), timeout=PATIENCE) as reply:
                return b"pong" in reply.read()
        except urllib.error.HTTPError:
            return False

    with Relay(tmp_path, "--listen-http=127.0.0.1:0", f"--control-token-file={tokens}") as relay:
        assert admitted("first-token-of-all")
        configured(tokens, "short")
        relay.process.send_signal(signal.SIGHUP)
        relay.wait_for("configuration not reloaded")
        assert admitted("first-token-of-all")
        configured(tokens, "second-token-of-all")
        relay.process.send_signal(signal.SIGHUP)
        relay.wait_for("configuration reloaded")
        assert not admitted("first-token-of-all")
        assert admitted("second-token-of-all")


def test_the_console_is_overruled_by_a_reload(tmp_path: Path) -> None:
    with Relay(tmp_path, "--timeout=60") as relay:
        relay.ctl("set", "timeout", "10")
        relay.process.send_signal(signal.SIGHUP)
        assert "changed=timeout" in relay.wait_for("configuration reloaded")
        assert relay.ctl("list", "timeout") == "TIMEOUT=60\n"


def test_templates_hold_from_the_reload_on(tmp_path: Path) -> None:
    file = configured(tmp_path / "c.toml", "timeout = 60")
    with Party() as party, Relay(tmp_path, f"--config-file={file}") as relay:
        offer = {"call_id": "c", "from_tag": "a", "sdp": party.sdp, "template": "feedback"}
        assert "RTP/AVP " in relay.ask("offer", **offer)["sdp"]
        configured(file, "[templates]", 'feedback = "transport-protocol=RTP/AVPF"')
        relay.process.send_signal(signal.SIGHUP)
        relay.wait_for("configuration reloaded")
        assert "RTP/AVPF " in relay.ask("offer", **offer)["sdp"]


# --- draining ---


def test_a_relay_that_drains_ends_with_its_last_call(tmp_path: Path) -> None:
    with Party() as caller, Party() as callee, Relay(tmp_path, "--drain-on-stop=600") as relay:
        to_callee, _ = relay.call("c", caller, callee)
        relay.process.send_signal(signal.SIGTERM)
        relay.wait_for("draining calls=1")
        refused = relay.ask("offer", call_id="new", from_tag="a", sdp=caller.sdp)
        assert refused["error-reason"] == "Parallel session limit reached"
        assert caller.say(to_callee) == callee.recv(2000)
        assert relay.ask("offer", call_id="c", from_tag="a", to_tag="b", sdp=caller.sdp)["result"] == "ok"
        relay.ask("delete", call_id="c", delete_delay=0)
        assert relay.process.wait(PATIENCE) == 0
        assert "stopping calls=0" in relay.wait_for("stopping")


def test_a_second_signal_cuts_the_draining_short(tmp_path: Path) -> None:
    with Party() as caller, Party() as callee, Relay(tmp_path, "--drain-on-stop=600") as relay:
        relay.call("c", caller, callee)
        relay.process.send_signal(signal.SIGTERM)
        relay.wait_for("draining")
        relay.process.send_signal(signal.SIGTERM)
        assert relay.process.wait(PATIENCE) == 0
        assert "stopping calls=1" in relay.wait_for("stopping")


def test_draining_is_bounded(tmp_path: Path) -> None:
    with Party() as caller, Party() as callee, Relay(tmp_path, "--drain-on-stop=0.5") as relay:
        relay.call("c", caller, callee)
        assert relay.end(signal.SIGTERM) == 0
    with Relay(tmp_path) as successor:
        assert successor.ask("list")["calls"] == ["c"]


def test_without_calls_there_is_nothing_to_drain(tmp_path: Path) -> None:
    with Relay(tmp_path, "--drain-on-stop=600") as relay:
        assert relay.end(signal.SIGTERM) == 0
        assert not [line for line in relay.lines if "draining" in line]


# --- rtprelay-ctl ---


def test_ctl_speaks_json(tmp_path: Path) -> None:
    with Relay(tmp_path) as relay:
        assert json.loads(relay.ctl("--json", "list", "numsessions"))["total"] == 0


def test_ctl_explains_itself() -> None:
    done = subprocess.run([*CTL, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "    set maxload NUMBER " in done.stdout
    wrong = subprocess.run([*CTL, "--dance"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, "", done.stdout)


def complete(tmp_path: Path, calls: str, *words: str) -> list[str]:
    """What bash offers for the last word; `calls` is what `list sessions all` says."""
    (tmp_path / "sessions").write_text(calls)
    script = (
        f"{bash()}\nrtprelay-ctl() {{ cat {tmp_path}/sessions; }}\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rtprelay_ctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", "rtprelay-ctl", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_bash_completes_the_grammar(tmp_path: Path) -> None:
    assert complete(tmp_path, "", "list", "num") == ["numsessions"]
    assert complete(tmp_path, "", "-ip", "192.0.2.1", "--json", "set", "max") == [
        "maxsessions",
        "maxload",
        "maxcpu",
        "maxbw",
        "maxopenfiles",
    ]
    assert "terminate" in complete(tmp_path, "", "")
    assert complete(tmp_path, "", "list", "numsessions", "") == [""]


def test_bash_completes_calls_without_running_what_is_in_their_names(tmp_path: Path) -> None:
    trap = f"$(touch${{IFS}}{tmp_path}/run)"
    calls = f"callid:  {trap} | x\ncallid:  one@example | x\ncallid:  two | x\n"
    assert complete(tmp_path, calls, "terminate", "o") == ["own", "one@example"]
    assert len(complete(tmp_path, calls, "call", "")) == 3
    assert not (tmp_path / "run").exists()
