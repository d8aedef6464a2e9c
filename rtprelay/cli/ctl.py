"""rtprelay-ctl: one line to the relay's console port, its answer to stdout.

Imports the standard library only: it starts in 20 ms, and runs where the relay's own dependencies are not installed.
"""

from __future__ import annotations

import os
import socket
import sys

USAGE = """\
usage: rtprelay-ctl [-ip ADDRESS[:PORT]] [-port PORT] [-timeout SECONDS] COMMAND...

The relay must listen for it (--listen-cli); default 127.0.0.1:9900, or $RTPRELAY_CLI.

    list numsessions              how many calls there are
    list sessions [all|CALL-ID]   all calls, or one with its streams
    list totals                   statistics
    list counters                 what passes per second
    list interfaces               media addresses and their ports, devices and how they are served
    list flows [CALL-ID]          the data plane's counters
    list reasons                  why packets were handed up or dropped
    list jsonstats                all statistics as JSON
    list maxsessions | maxopenfiles
    list timeout | silenttimeout | finaltimeout | offertimeout | deletedelay
    set  timeout | silenttimeout | finaltimeout | offertimeout | deletedelay SECONDS
    set  maxsessions COUNT        -1: no limit; 0: take no new calls
    terminate CALL-ID | all       end a call, or all
    version                       of the relay
"""


def main() -> int:
    """Exit status 0: answered; 1: no relay there; 2: wrong usage."""
    host, port = _address(os.environ.get("RTPRELAY_CLI", "127.0.0.1"), 9900)
    timeout = 10.0
    words = sys.argv[1:]
    try:
        while words and words[0].startswith("-"):
            option = words.pop(0).lstrip("-")
            if option in ("h", "help"):
                print(USAGE, end="")
                return 0
            if option == "ip":
                host, port = _address(words.pop(0), port)
            elif option == "port":
                port = int(words.pop(0))
            elif option == "timeout":
                timeout = float(words.pop(0))
            else:
                raise ValueError(option)
    except (ValueError, IndexError):
        print(USAGE, end="", file=sys.stderr)
        return 2
    if not words:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        answer = _ask(host, port, " ".join(words), timeout)
    except OSError as error:
        print(f"rtprelay-ctl: no answer from {host}:{port}: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(answer)
    return 0


def _address(text: str, default_port: int) -> tuple[str, int]:
    """`ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; an IPv6 address with a port needs its brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return text.strip("[]"), default_port
    return host.strip("[]"), int(port)


def _ask(host: str, port: int, line: str, timeout: float) -> str:
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
