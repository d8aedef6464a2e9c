"""`rtprelay ng`: any ng command by hand.

    rtprelay ng offer --call-id c1 --from-tag a --replace origin --trust-address call.sdp
    rtprelay ng subscribe request --call-id room --from-tags Ernie --from-tags Bert
    rtprelay ng --tcp --server 192.0.2.1:2224 query --call-id c1

What follows the command are its keys; a key given twice is a list, and a value that begins with [ or { is JSON. A flag
of the protocol takes no value; a key that may do without one (`to-tag`, `all`) takes the word that follows unless that
is another key. The last word is a file with the SDP, `-` is the standard input.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rtprelay.cli.ctl import address
from rtprelay.errors import MalformedMessage
from rtprelay.signalling.command import CommandName
from rtprelay.signalling.flags import Kind, find
from rtprelay.signalling.frame import Encoding, Frame, decode, join, split
from rtprelay.signalling.stream import Splitter

TRIES = 3
"""Datagrams get lost; the cookie makes a repeated one harmless."""
_NAMES = frozenset(name.value for name in CommandName)
_LISTS = frozenset({"flags", "from-tags"})


class UsageError(Exception):
    """The arguments make no request."""


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: done; 1: no reply, or an error; 2: wrong usage."""
    start = _command_at(arguments)
    options = _parser().parse_args(list(arguments[:start]))
    try:
        message = request(arguments[start:])
        server = address(options.server, 2223)
    except (UsageError, ValueError, OSError, msgspec.DecodeError) as error:
        print(f"rtprelay ng: {error}; see rtprelay ng --help", file=sys.stderr)
        return 2
    cookie = f"{random.getrandbits(64):016x}".encode()
    data = join(cookie, Encoding.BENCODE if options.bencode else Encoding.JSON, message)
    ask = _by_tcp if options.tcp else _by_udp
    try:
        reply = decode(ask(server, data, cookie, options.timeout))
    except (OSError, MalformedMessage) as error:
        print(f"rtprelay ng: no reply from {options.server}: {error}", file=sys.stderr)
        return 1
    _show(reply, options.json)
    return 0 if reply.get("result") in ("ok", "pong") else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtprelay ng",
        usage="rtprelay ng [options] COMMAND [--KEY VALUE | --FLAG]... [FILE.sdp | -]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--server", default="127.0.0.1:2223", metavar="HOST[:PORT]", help="default: %(default)s")
    parser.add_argument("--tcp", action="store_true", help="over TCP instead of UDP")
    parser.add_argument("--bencode", action="store_true", help="in bencode instead of JSON")
    parser.add_argument("--json", action="store_true", help="print the whole reply, an SDP included, as JSON")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECS", help="for the reply; default: %(default)s"
    )
    return parser


_TAKING = frozenset({"--server", "--timeout"})


def _command_at(arguments: Sequence[str]) -> int:
    """Where our own options end."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("--"):
        index += 2 if arguments[index] in _TAKING else 1
    return min(index, len(arguments))


def request(words: Sequence[str]) -> dict[str, Any]:
    """The message that a command line stands for. Raises UsageError; OSError where the SDP cannot be read."""
    if not words:
        raise UsageError("no command")
    length = 2 if " ".join(words[:2]) in _NAMES else 1
    message: dict[str, Any] = {"command": " ".join(words[:length])}
    rest = list(words[length:])
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            if rest:
                raise UsageError(f"{word!r} is neither key nor flag")
            message["sdp"] = sdp(word)
            break
        key, equals, value = word[2:].partition("=")
        flag = find(key)
        if not equals and flag is not None and (flag.kind is Kind.SWITCH or (flag.bare is not None and _alone(rest))):
            message.setdefault("flags", []).append(key)
            continue
        if not equals:
            if not rest:
                raise UsageError(f"--{key} needs a value")
            value = rest.pop(0)
        _put(message, key, msgspec.json.decode(value) if value[:1] in ("[", "{") else value)
    return message


def _alone(rest: Sequence[str]) -> bool:
    """No value follows."""
    return not rest or rest[0].startswith("--")


def _put(message: dict[str, Any], key: str, value: Any) -> None:
    if key in message or key in _LISTS:
        known = message.setdefault(key, [])
        known = message[key] = known if isinstance(known, list) else [known]
        known.extend(value if isinstance(value, list) else [value])
    else:
        message[key] = value


def sdp(name: str) -> str:
    """The file's text with the line ends SDP has (RFC 8866 section 5)."""
    text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    return "".join(f"{line}\r\n" for line in text.splitlines() if line)


def _by_udp(server: tuple[str, int], data: bytes, cookie: bytes, timeout: float) -> Frame:
    family, kind, protocol, _, where = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as connection:
        connection.connect(where)
        connection.settimeout(timeout / TRIES)
        for _ in range(TRIES):
            connection.send(data)
            with contextlib.suppress(TimeoutError):
                return _reply(connection.recv(1 << 16), cookie)
    raise TimeoutError("timed out")


def _by_tcp(server: tuple[str, int], data: bytes, cookie: bytes, timeout: float) -> Frame:
    splitter = Splitter()
    with socket.create_connection(server, timeout) as connection:
        connection.sendall(data)
        while (message := splitter.take()) is None:
            part = connection.recv(1 << 16)
            if not part:
                raise ConnectionError("the connection was closed")
            splitter.feed(part)
    return _reply(message, cookie)


def _reply(data: bytes, cookie: bytes) -> Frame:
    frame = split(data)
    if frame is None or frame.cookie != cookie or frame.encoding is None:
        raise MalformedMessage("what came is no reply to what was asked")
    return frame


def _show(reply: dict[str, Any], whole: bool) -> None:
    """An SDP or a console's answer to stdout as it is, the keys beside it to stderr; other replies as JSON."""
    body = next((key for key in ("sdp", "response") if key in reply), None)
    if whole or body is None:
        print(msgspec.json.format(msgspec.json.encode(reply)).decode())
        return
    for key, value in reply.items():
        if key != body:
            print(f"{key}: {value}", file=sys.stderr)
    sys.stdout.write(str(reply[body]).replace("\r\n", "\n"))
