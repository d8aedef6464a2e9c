"""Logging: one line per event, the call-id on every line that has one, to stderr or to syslog.

    log.info("call_created", call_id="abc", tags=2)

    default    2026-01-31T12:00:00.250Z INFO: [abc] call_created tags=2
    parsable   2026-01-31T12:00:00.250Z INFO: [ID="abc"] call_created tags=2
    json       {"time":"2026-01-31T12:00:00.250Z","level":"info","call_id":"abc","event":"call_created","tags":2}

A call-id comes from the wire: nothing in a line can end it or start another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Container

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from rtprelay.clock import iso

LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""As in syslog(3), by number."""
_HEARD_FROM = {"critical": 0, "error": 3, "warning": 4, "info": 5, "debug": 7}
"""The lowest verbosity at which a line of this level is heard: what cannot go on always is, and a notice is an info."""
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_FACILITIES = {"user": 1, "daemon": 3, "syslog": 5, **{f"local{number}": 16 + number for number in range(8)}}
SYSLOG = "/dev/log"


class Verbosity:
    """What is heard: lines up to `level`, and all lines of the calls in `traced`. Both may change at any time."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.traced: set[str] = set()

    def shift(self, levels: int) -> None:
        """Hear so many levels more."""
        self.level = min(max(self.level + levels, 0), 7)

    def trace(self, call_id: str, calls: Container[str]) -> None:
        """Everything about the call is heard from now on, while it is among `calls`."""
        # Calls come and go, what is traced must not grow with them.
        self.traced = {known for known in self.traced if known in calls} | {call_id}

    def hears(self, method: str, call_id: str | None) -> bool:
        return _HEARD_FROM[method] <= self.level or call_id in self.traced

    def __call__(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if not self.hears(method, event.get("call_id")):
            raise structlog.DropEvent
        return event


def configure(
    verbosity: Verbosity, style: str = "default", stderr: bool = True, facility: str = "daemon"
) -> FilteringBoundLogger:
    """The logger of the process. Without a syslog daemon stderr is used."""
    to_syslog = not stderr and os.path.exists(SYSLOG)
    render = _json if style == "json" else _text(style == "parsable", stamp=not to_syslog)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(0),
        processors=[verbosity, _level, structlog.processors.format_exc_info, render],
        logger_factory=_Syslog(facility).logger if to_syslog else _Stderr,
        cache_logger_on_first_use=True,
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


class _Stderr:
    """Writes a rendered line; structlog calls the method named as the level."""

    def _write(self, line: str) -> None:
        # Whoever read the log may have gone away; the calls go on.
        with contextlib.suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = _write


class _Syslog:
    """RFC 3164 datagrams to the local daemon. One that is not listening loses lines, never blocks the relay."""

    def __init__(self, facility: str) -> None:
        self._facility = _FACILITIES[facility]
        self._socket: socket.socket | None = None

    def logger(self, *_: object) -> _SyslogLogger:
        return _SyslogLogger(self)

    def send(self, level: str, line: str) -> None:
        priority = self._facility * 8 + _PRIORITIES[level]
        message = f"<{priority}>rtprelay[{os.getpid()}]: {line}".encode("utf-8", "backslashreplace")
        try:
            self._connected().send(message)
        except BlockingIOError:
            return
        except OSError:
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            self._socket.connect(SYSLOG)
        return self._socket


class _SyslogLogger:
    def __init__(self, sink: _Syslog) -> None:
        self._sink = sink

    def debug(self, line: str) -> None:
        self._sink.send("debug", line)

    def info(self, line: str) -> None:
        self._sink.send("info", line)

    def warning(self, line: str) -> None:
        self._sink.send("warning", line)

    def error(self, line: str) -> None:
        self._sink.send("error", line)

    def critical(self, line: str) -> None:
        self._sink.send("critical", line)


def _level(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["level"] = method
    return event


def _text(parsable: bool, stamp: bool) -> Callable[[WrappedLogger, str, EventDict], str]:
    def render(_: WrappedLogger, __: str, event: EventDict) -> str:
        parts = [f"{str(event.pop('level')).upper()}:"]
        if stamp:
            parts.insert(0, iso(time.time()))
        call_id = event.pop("call_id", None)
        if call_id is not None:
            shown = printable(str(call_id))
            parts.append(f'[ID="{shown}"]' if parsable else f"[{shown}]")
        text = str(event.pop("event"))
        exception = event.pop("exception", None)
        parts.append(printable(text))
        parts += [f"{name}={_value(value)}" for name, value in event.items()]
        if exception is not None:
            parts.append("| " + " | ".join(line.strip() for line in str(exception).splitlines()))
        return " ".join(parts)

    return render


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    ordered = {"time": iso(time.time()), "level": event.pop("level"), **event}
    return msgspec.json.encode(ordered, enc_hook=str).decode()


def _value(value: object) -> str:
    text = printable(str(value))
    return f'"{text}"' if " " in text or not text else text


def printable(text: str) -> str:
    """The text with everything that could break or forge a line escaped."""
    if text.isprintable() and '"' not in text:
        return text
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character == '"':
        return '\\"'
    return character if character.isprintable() else character.encode("unicode_escape").decode()
