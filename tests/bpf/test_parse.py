"""Packets that are not plain UDP over IP: left to the stack, never guessed at.

any frame --> [ relay_xdp | relay_tc ] --> passed, unchanged
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import Engine, Plane

SENDER = Endpoint("192.0.2.1", 4000)
SENDER6 = Endpoint("2001:db8::1", 4000)


@pytest.fixture
def frame(plane: Plane) -> Iterator[Frame]:
    """Of a flow whose packets are forwarded, if they are plain."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        local = Endpoint("127.0.0.1", daemon.getsockname()[1])
        plane.put_output(0, Endpoint("203.0.113.5", 30002), Endpoint("203.0.113.77", 5004))
        plane.put_flow(local, SENDER, range(1))
        yield Frame(SENDER, local, bytes(Rtp()))


def passed(engine: Engine, frame: bytes) -> bool:
    run = engine.run(frame)
    return run.verdict in (engine.passed, engine.not_ours) and run.data == frame


def test_the_plain_packet_is_forwarded(engine: Engine, frame: Frame) -> None:
    """Or the others prove nothing."""
    assert engine.run(bytes(frame)).verdict == engine.sent


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plain: replace(plain, flags_and_offset=0x2000), "punt_fragment"),
        (lambda plain: replace(plain, flags_and_offset=0x0010), "punt_fragment"),
        (lambda plain: replace(plain, options=bytes.fromhex("94040000")), "punt_ip_options"),
        (lambda plain: replace(plain, options=bytes(40)), "punt_ip_options"),
    ],
    ids=["first fragment", "later fragment", "router alert", "most options"],
)
def test_fragments_and_options_go_up(
    plane: Plane, engine: Engine, frame: Frame, change: Callable[[Frame], Frame], reason: str
) -> None:
    assert passed(engine, bytes(change(frame)))
    assert plane.counts() == ({reason: 1} if engine.name == "tc" else {})
    assert plane.state().packets == 0


def test_extension_headers_go_up(plane: Plane, engine: Engine) -> None:
    local = Endpoint("2001:db8::10", 30000)
    plane.put_output(0, Endpoint("2001:db8::5", 30002), Endpoint("2001:db8::77", 5004))
    plane.put_flow(local, SENDER6, range(1))
    plain = bytes(Frame(SENDER6, local, bytes(Rtp())))
    options = bytes([17, 0, 1, 4, 0, 0, 0, 0])
    length = int.from_bytes(plain[18:20], "big") + len(options)
    frame = plain[:18] + length.to_bytes(2, "big") + bytes([60]) + plain[21:54] + options + plain[54:]
    assert passed(engine, frame)
    assert plane.counts() == ({"punt_extension_header": 1} if engine.name == "tc" else {})


def test_every_truncation_passes(engine: Engine, frame: Frame) -> None:
    whole = bytes(frame)
    # A test run of tc wants an IP header where the frame says IP.
    for length in range(34, len(whole)):
        assert passed(engine, whole[:length]), length


@pytest.mark.parametrize("length", [0, 7, 181, 0xFFFF])
def test_a_udp_length_that_cannot_be_passes(engine: Engine, frame: Frame, length: int) -> None:
    whole = bytes(frame)
    assert passed(engine, whole[:38] + length.to_bytes(2, "big") + whole[40:])


def test_bytes_behind_the_datagram_are_padding(plane: Plane, engine: Engine, frame: Frame) -> None:
    """Ethernet pads to 60 bytes: they are no payload."""
    padded = bytes(frame) + bytes(18)
    run = engine.run(padded)
    assert run.verdict == engine.sent
    assert len(run.data) == len(padded)
    assert plane.state().bytes == 172


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (12, bytes.fromhex("0806")),
        (12, bytes.fromhex("88cc")),
        (14, b"\x65"),
        (14, b"\x44"),
        (23, b"\x06"),
        (34, bytes(2)),
    ],
    ids=["arp", "lldp", "ip version 6 in ip4", "header of 16 bytes", "tcp", "source port 0"],
)
def test_other_protocols_pass(plane: Plane, engine: Engine, frame: Frame, offset: int, value: bytes) -> None:
    whole = bytes(frame)
    assert passed(engine, whole[:offset] + value + whole[offset + len(value) :])
    assert plane.counts() == {}


def test_three_tags_are_one_too_many(plane: Plane, engine: Engine, frame: Frame) -> None:
    whole = bytes(replace(frame, vlan=(1, 2)))
    assert passed(engine, whole[:12] + bytes.fromhex("88a80003") + whole[12:])
