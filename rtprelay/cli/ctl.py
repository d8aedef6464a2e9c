"""rtprelay-ctl: one line to the relay's console port, its answer to stdout.

Imports the standard library only: it starts in 20 ms, and runs where the relay's own dependencies are not installed.
"""

from __future__ import annotations

import os
import socket
import sys

from rtprelay.cli.grammar import usage

USAGE = """\
usage: rtprelay-ctl [-ip ADDRESS[:PORT]] [-port PORT] [-timeout SECONDS] [--json] [--keys] COMMAND...
       rtprelay-ctl --completion bash

The relay must listen for it (--listen-cli); default 127.0.0.1:9900, or $RTPRELAY_CLI.
--json: the answer for machines. `get` is the same as `list`.
--keys: with `list sessions CALL-ID`, the call's SRTP keys as well, to decrypt a capture.

"""


class _Usage(Exception):
    """The arguments make no sense."""


def main() -> int:
    """Exit status 0: answered; 1: no relay there; 2: wrong usage."""
    try:
        return _run(sys.argv[1:])
    except _Usage:
        print(USAGE + "\n".join(usage()), file=sys.stderr)
        return 2


def _run(words: list[str]) -> int:
    host, port = address(os.environ.get("RTPRELAY_CLI", "127.0.0.1"), 9900)
    timeout, prefix = 10.0, ""
    try:
        while words and words[0].startswith("-"):
            option = words.pop(0).lstrip("-")
            if option in ("h", "help"):
                words = ["usage"]
            elif option == "ip":
                host, port = address(words.pop(0), port)
            elif option == "port":
                port = int(words.pop(0))
            elif option == "timeout":
                timeout = float(words.pop(0))
            elif option == "json":
                prefix += "--json "
            elif option == "keys":
                prefix += "--keys "
            elif option == "completion":
                return _completion(words.pop(0))
            else:
                raise _Usage
    except (ValueError, IndexError):
        raise _Usage from None
    if not words:
        raise _Usage
    if words == ["usage"]:
        print(USAGE + "\n".join(usage()))
        return 0
    try:
        answer = ask(host, port, prefix + " ".join(words), timeout)
    except OSError as error:
        print(f"rtprelay-ctl: no answer from {host}:{port}: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(answer)
    return 0


def _completion(shell: str) -> int:
    if shell != "bash":
        raise _Usage
    # Imported late: only who installs it needs it.
    from rtprelay.cli.completion import bash

    sys.stdout.write(bash())
    return 0


def address(text: str, default_port: int) -> tuple[str, int]:
    """`ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; an IPv6 address with a port needs its brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return text.strip("[]"), default_port
    return host.strip("[]"), int(port)


def ask(host: str, port: int, line: str, timeout: float) -> str:
    """The console's answer to a line. Raises OSError."""
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
