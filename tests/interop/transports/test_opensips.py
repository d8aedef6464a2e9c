"""A dialogue as OpenSIPS's module sends it, recorded in tests/data/opensips_ng.txt, told to a relay that runs.

OpenSIPS (its datagrams) ----ng/UDP----> rtprelay (a process of its own)
"""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtprelay.signalling.parse import parse_command
from rtprelay.wire.bencode import decode
from tests.interop.transports.daemon import Daemon

FILE = Path(__file__).resolve().parents[2] / "data" / "opensips_ng.txt"


def recorded() -> Iterator[tuple[bytes, str]]:
    """Each datagram with the result it is to have."""
    datagram = b""
    for line in FILE.read_text().splitlines():
        if line.startswith(">> "):
            datagram = ast.literal_eval(line[3:])
        elif line.startswith("<< "):
            yield datagram, line[3:]


def body(message: bytes) -> dict[str, Any]:
    found = decode(message.partition(b" ")[2])
    assert isinstance(found, dict)
    return found


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Daemon]:
    interfaces = ("-i", "internal/127.0.0.1", "-i", "external/127.0.0.2")
    daemon = Daemon(tmp_path, *interfaces, "--listen-ng=127.0.0.1:0")
    yield daemon
    daemon.program.end()


def test_a_dialogue_of_opensips_is_understood(relay: Daemon) -> None:
    endpoint = relay.at("ng")
    replies = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect((endpoint.address, endpoint.port))
        for datagram, result in recorded():
            sock.send(datagram)
            reply = sock.recv(65536)
            assert reply.partition(b" ")[0] == datagram.partition(b" ")[0]
            replies.append(body(reply))
            assert replies[-1]["result"] == result, (datagram, reply)
    offered, answered = replies[1]["sdp"], replies[2]["sdp"]
    assert (offered.count("m="), answered.count("m="), "m=video 0 " in answered) == (1, 2, True)
    assert "a=fmtp:96 useinbandfec=1\r\n" in replies[4]["sdp"]
    assert "c=IN IP4 203.0.113.5\r\n" in replies[5]["sdp"]
    assert replies[11]["error-reason"].startswith("Not supported yet: start recording")
    assert "warning" in replies[-1]


def test_no_flag_of_its_is_unknown() -> None:
    assert [parse_command(body(datagram)).unknown_flags for datagram, _ in recorded()] == [()] * len(list(recorded()))
