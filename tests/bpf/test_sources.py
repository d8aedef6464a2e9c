"""Whose packets a flow takes, and what becomes of all others: rules 2 to 5 of rtprelay/plan/flow.py.

    expected / signalled / stranger --frame--> [ relay_xdp ] --passed--> [ relay_tc ] --> forwarded | up | dropped

Every test runs over both kinds of interface: with native XDP in front of tc, and with tc alone. The relay's port is
bound by a socket of the test, as the daemon's would be, because a punt without a listener is a drop.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Protocol

import pytest

from rtprelay.kernel import abi
from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import Plane

EXPECTED = Endpoint("192.0.2.1", 4000)
SIGNALLED = Endpoint("192.0.2.2", 4000)
STRANGER = Endpoint("192.0.2.66", 4000)
NEAR, FAR = Endpoint("203.0.113.5", 30002), Endpoint("203.0.113.77", 5004)
RECEIVER_REPORT = struct.pack("!BBHI", 0x80, 201, 1, 0xAABBCCDD)
FORWARDED, UP, DROPPED = "forwarded", "up", "dropped"


class Send(Protocol):
    def __call__(self, source: Endpoint, payload: bytes = ..., destination: Endpoint | None = None) -> str: ...


@pytest.fixture(params=["ip4", "ip6"])
def local(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """A port the daemon has bound."""
    family, address = (socket.AF_INET, "127.0.0.1") if request.param == "ip4" else (socket.AF_INET6, "::1")
    with socket.socket(family, socket.SOCK_DGRAM) as daemon:
        daemon.bind((address, 0))
        yield Endpoint(address, daemon.getsockname()[1])


@pytest.fixture(params=["xdp+tc", "tc"])
def send(plane: Plane, local: Endpoint, request: pytest.FixtureRequest) -> Send:
    engines = (plane.xdp, plane.tc) if request.param == "xdp+tc" else (plane.tc,)

    def run(source: Endpoint, payload: bytes = bytes(Rtp()), destination: Endpoint | None = None) -> str:
        frame = bytes(Frame(of_family(local, source), destination or local, payload))
        for engine in engines:
            result = engine.run(frame)
            if result.verdict == engine.sent:
                return FORWARDED
            if result.verdict == engine.dropped:
                return DROPPED
            assert result.verdict == engine.passed
            assert result.data == frame, "what goes up goes up as it came"
        return UP

    return run


def of_family(local: Endpoint, endpoint: Endpoint) -> Endpoint:
    """The same host in the family under test."""
    if ":" not in local.address:
        return endpoint
    return Endpoint.parse(f"2001:db8::{endpoint.address}", endpoint.port)


def install(
    plane: Plane,
    local: Endpoint,
    expected: Endpoint | None = EXPECTED,
    signalled: Endpoint | None = None,
    rtcp_expected: Endpoint | None = None,
    on_mismatch: abi.Mismatch = abi.Mismatch.PUNT,
    lock: bool = True,
    generation: int = 1,
    slot: int | None = 0,
    payloads: dict[int, tuple[int, bool]] | None = None,
    outputs: range = range(1),
) -> None:
    def own(endpoint: Endpoint | None) -> Endpoint | None:
        return endpoint and of_family(local, endpoint)

    plane.put_output(0, of_family(local, NEAR), of_family(local, FAR))
    plane.put_flow(
        local,
        own(expected),
        outputs,
        signalled=own(signalled),
        rtcp_expected=own(rtcp_expected),
        on_mismatch=on_mismatch,
        flags=abi.FlowFlag.XDP | (abi.FlowFlag.LOCK if lock else abi.FlowFlag(0)),
        generation=generation,
        slot=slot,
        payloads=payloads,
    )


def test_the_expected_source_is_forwarded_from_its_first_packet_and_has_spoken(
    plane: Plane, local: Endpoint, send: Send
) -> None:
    install(plane, local, generation=3)
    assert plane.state().confirmed == 0
    assert send(EXPECTED) == FORWARDED
    assert plane.state().confirmed == 3
    assert plane.aside().punted == 0


def test_a_stranger_is_dropped_under_the_drop_policy(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local, on_mismatch=abi.Mismatch.DROP)
    assert send(STRANGER) == DROPPED
    assert plane.counts() == {"drop_source_mismatch": 1}
    assert (plane.aside().dropped, plane.state().packets, plane.state().last_seen) == (1, 0, 0)


def test_a_stranger_is_forwarded_under_the_accept_policy_but_confirms_nothing(
    plane: Plane, local: Endpoint, send: Send
) -> None:
    install(plane, local, on_mismatch=abi.Mismatch.ACCEPT)
    assert send(STRANGER) == FORWARDED
    assert plane.state().confirmed == 0
    assert send(EXPECTED) == FORWARDED
    assert send(STRANGER) == FORWARDED


def test_a_stranger_is_punted_until_the_expected_source_has_spoken_and_dropped_from_then_on(
    plane: Plane, local: Endpoint, send: Send
) -> None:
    install(plane, local)
    assert send(STRANGER) == UP
    assert send(EXPECTED) == FORWARDED
    assert send(STRANGER) == DROPPED
    counts = plane.counts()
    assert (counts["punt_unknown_source"], counts["drop_source_locked"]) == (1, 1)
    assert (plane.aside().punted, plane.aside().dropped) == (1, 1)


def test_without_lock_a_stranger_is_punted_all_along(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local, lock=False)
    assert send(EXPECTED) == FORWARDED
    assert send(STRANGER) == UP


def test_a_new_generation_starts_anew(plane: Plane, local: Endpoint, send: Send) -> None:
    """The expected source was changed: it has not spoken yet, and others may be judged again."""
    install(plane, local)
    assert send(EXPECTED) == FORWARDED
    install(plane, local, generation=2)
    assert send(STRANGER) == UP


def test_the_same_host_with_another_port_is_another_source(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local, on_mismatch=abi.Mismatch.DROP)
    assert send(EXPECTED.with_port(4002)) == DROPPED


@pytest.mark.parametrize("policy", list(abi.Mismatch))
def test_the_signalled_address_is_punted_whatever_the_policy_and_the_lock(
    plane: Plane, local: Endpoint, send: Send, policy: abi.Mismatch
) -> None:
    install(plane, local, signalled=SIGNALLED, on_mismatch=policy)
    assert send(EXPECTED) == FORWARDED
    assert send(SIGNALLED) == UP
    assert plane.counts()["punt_signalled_source"] == 1


def test_where_nothing_is_expected_nothing_is_accepted(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local, expected=None)
    assert send(STRANGER) == UP
    install(plane, local, expected=None, on_mismatch=abi.Mismatch.DROP)
    assert send(STRANGER) == DROPPED


def test_rtcp_is_checked_against_its_own_source(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local, rtcp_expected=EXPECTED.with_port(4001), on_mismatch=abi.Mismatch.DROP)
    assert send(EXPECTED.with_port(4001), RECEIVER_REPORT) == UP
    assert send(EXPECTED, RECEIVER_REPORT) == DROPPED
    counts = plane.counts()
    assert (counts["punt_rtcp"], counts["drop_source_mismatch"]) == (1, 1)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (bytes.fromhex("000100002112a442") + bytes(12), "punt_stun"),
        (bytes.fromhex("16fefd0000") + bytes(20), "punt_dtls"),
        (b"", "punt_not_rtp"),
        (b"\x80", "punt_not_rtp"),
        (bytes(Rtp())[:11], "punt_not_rtp"),
        (b"\r\n\r\n", "punt_not_rtp"),
        (b"\x40" + bytes(40), "punt_not_rtp"),
        (RECEIVER_REPORT[:7], "punt_not_rtp"),
    ],
    ids=["stun", "dtls", "empty", "one byte", "short rtp", "keepalive", "rtp version 1", "short rtcp"],
)
def test_what_is_no_rtp_goes_up_whoever_sends_it(
    plane: Plane, local: Endpoint, send: Send, payload: bytes, reason: str
) -> None:
    install(plane, local, on_mismatch=abi.Mismatch.DROP)
    assert send(STRANGER, payload) == UP
    assert plane.counts() == {reason: 1}
    assert plane.aside().punted == 1


@pytest.mark.parametrize(("second_byte", "rtcp"), [(191, False), (192, True), (200, True), (223, True), (224, False)])
def test_rtcp_is_told_from_rtp_by_its_packet_type(
    plane: Plane, local: Endpoint, send: Send, second_byte: int, rtcp: bool
) -> None:
    """RFC 5761 section 4: 192 to 223."""
    install(plane, local, rtcp_expected=EXPECTED)
    payload = bytes(Rtp())
    assert send(EXPECTED, payload[:1] + bytes([second_byte]) + payload[2:]) == (UP if rtcp else FORWARDED)


def test_a_blocked_payload_type_is_dropped_and_others_go_on(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local, payloads={101: (8000, True), 0: (8000, False)})
    assert send(EXPECTED, bytes(Rtp(payload_type=101, marker=True))) == DROPPED
    assert send(EXPECTED, bytes(Rtp(payload_type=0))) == FORWARDED
    assert send(EXPECTED, bytes(Rtp(payload_type=77))) == FORWARDED
    assert plane.counts()["drop_payload_type"] == 1
    assert (plane.aside().dropped, plane.state().packets) == (1, 2)


def test_on_hold_packets_are_counted_and_end(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local, outputs=range(0))
    assert send(EXPECTED) == DROPPED
    state = plane.state()
    assert (state.packets, plane.aside().dropped, state.ssrc.packets) == (1, 0, 1)
    assert state.last_seen > 0
    assert plane.counts() == {"drop_hold": 1}


def test_strangers_are_punted_at_a_bounded_rate(plane: Plane, local: Endpoint, send: Send) -> None:
    """A burst of 128, then 50 a second: garbage sent to a known port must not starve the daemon."""
    install(plane, local)
    verdicts = [send(STRANGER) for _ in range(300)]
    assert verdicts[:128] == [UP] * 128
    assert verdicts[-50:].count(UP) < 50
    counts = plane.counts()
    assert counts["punt_unknown_source"] + counts["drop_source_flood"] == 300
    assert counts["punt_unknown_source"] == verdicts.count(UP)


def test_a_flood_of_strangers_does_not_silence_the_signalled_address_or_rtcp(
    plane: Plane, local: Endpoint, send: Send
) -> None:
    install(plane, local, signalled=SIGNALLED, rtcp_expected=EXPECTED)
    while send(STRANGER) == UP:
        pass
    assert send(SIGNALLED) == UP
    assert send(EXPECTED, RECEIVER_REPORT) == UP
    assert send(EXPECTED) == FORWARDED


def test_non_rtp_has_a_generous_rate(plane: Plane, local: Endpoint, send: Send) -> None:
    install(plane, local)
    for _ in range(1000):
        assert send(EXPECTED, b"\r\n") == UP


def test_what_would_go_up_ends_when_no_daemon_listens(plane: Plane, local: Endpoint, send: Send) -> None:
    """Instead of an ICMP port unreachable from the stack, on which many a phone hangs up."""
    with socket.socket(socket.AF_INET6 if ":" in local.address else socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind((local.address, 0))
        unbound = Endpoint(local.address, gone.getsockname()[1])
    install(plane, unbound)
    assert send(STRANGER, destination=unbound) == DROPPED
    assert send(EXPECTED, destination=unbound) == FORWARDED
    assert plane.counts()["drop_no_daemon"] == 1


def test_larger_than_the_mtu_goes_up_without_being_counted_as_received(
    plane: Plane, local: Endpoint, send: Send
) -> None:
    install(plane, local)
    assert send(EXPECTED, bytes(Rtp(payload=bytes(1500)))) == UP
    assert plane.counts() == {"punt_too_big": 1}
    assert (plane.state().packets, plane.state().ssrc.packets) == (0, 0)
