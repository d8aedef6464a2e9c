"""Log lines: call-id on each, levels as in syslog(3), and nothing from the wire ends a line or starts another."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.observe import log as observe
from rtprelay.observe.log import Verbosity, configure, printable

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


@pytest.fixture(autouse=True)
def _restore() -> object:
    yield
    structlog.reset_defaults()


def test_a_line_has_time_level_call_id_event_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Verbosity(6)).bind(call_id="a@b").warning("call ended", reason="timeout", text="two words", none="")
    assert re.fullmatch(
        STAMP + r'WARNING: \[a@b\] call ended reason=timeout text="two words" none=""\n', capsys.readouterr().err
    )


def test_the_parsable_style_quotes_the_call_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Verbosity(6), "parsable").bind(call_id="a@b").info("x")
    assert capsys.readouterr().err.endswith('INFO: [ID="a@b"] x\n')


def test_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Verbosity(6), "json").info("x", call_id="a\nb", path=Path("/y"), count=3)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    entry = json.loads(line)
    assert {key: entry[key] for key in ("level", "event", "call_id", "path", "count")} == {
        "level": "info",
        "event": "x",
        "call_id": "a\nb",
        "path": "/y",
        "count": 3,
    }


@pytest.mark.parametrize(
    ("level", "heard"),
    [(0, ["critical"]), (3, ["error", "critical"]), (4, ["warning", "error", "critical"]), (7, None)],
)
def test_levels_are_those_of_syslog(capsys: pytest.CaptureFixture[str], level: int, heard: list[str] | None) -> None:
    log = configure(Verbosity(level))
    names = ["debug", "info", "warning", "error", "critical"]
    for name in names:
        getattr(log, name)("event")
    said = [line.split()[1].rstrip(":").lower() for line in capsys.readouterr().err.splitlines()]
    assert said == (names if heard is None else heard)


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure(Verbosity(6))
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        log.error("failed", exc_info=True)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "RuntimeError: first" in line


@given(st.text())
def test_nothing_from_the_wire_breaks_or_forges_a_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert '"' not in shown.replace('\\"', "")


def test_syslog_gets_a_datagram_with_facility_and_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "log")
    monkeypatch.setattr(observe, "SYSLOG", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.settimeout(10)
        log = configure(Verbosity(6), stderr=False, facility="local1")
        log.error("failed", call_id="c")
        priority = 17 * 8 + 3
        assert re.fullmatch(rb"<%d>rtprelay\[\d+\]: ERROR: \[c\] failed" % priority, daemon.recv(1000))
    log.error("nobody listens, nobody waits")


def test_without_a_syslog_daemon_stderr_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(observe, "SYSLOG", str(tmp_path / "missing"))
    configure(Verbosity(6), stderr=False).info("heard")
    assert "INFO: heard" in capsys.readouterr().err


def test_what_is_heard_may_change_while_the_relay_runs(capsys: pytest.CaptureFixture[str]) -> None:
    verbosity = Verbosity(4)
    log = configure(verbosity)
    log.info("first")
    verbosity.level = 6
    log.info("second")
    verbosity.level = 3
    log.warning("third")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["second"]


def test_a_traced_call_is_heard_whatever_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    verbosity = Verbosity(4)
    log = configure(verbosity)
    verbosity.traced.add("c")
    log.bind(call_id="c").debug("heard")
    log.bind(call_id="d").info("unheard")
    verbosity.traced.discard("c")
    log.debug("unheard", call_id="c")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["heard"]
