"""The text a person gets from `cat <bpf-path>/list`: the layout of /proc/rtpengine/0/list.

maps --> iterator, pinned in bpffs --> cat
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtprelay.kernel import abi
from rtprelay.kernel.libbpf import Link
from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import READY, Plane, Sent

LOCAL, SENDER = Endpoint("198.51.100.10", 30000), Endpoint("192.0.2.1", 4000)


@pytest.fixture
def listing(plane: Plane) -> Iterator[Path]:
    path = Path(f"/sys/fs/bpf/rtprelay-test-list-{os.getpid()}")
    with Link.iterator(plane.programs["rtprelay_list"], plane.maps["rtprelay_flows"]) as iterator:
        iterator.pin(path)
        yield path
    path.unlink()


def test_no_flows_are_an_empty_text(listing: Path) -> None:
    assert listing.read_text() == ""


def test_a_flow_is_listed_as_operators_know_it(plane: Plane, listing: Path) -> None:
    plane.put_output(3, Endpoint("203.0.113.5", 30002), Endpoint("203.0.113.77", 5004), ssrc=0xFEED, sequence_offset=5)
    plane.put_output(4, Endpoint("203.0.113.5", 30004), Endpoint("203.0.113.78", 5004))
    plane.put_flow(LOCAL, SENDER, range(3, 5), on_mismatch=abi.Mismatch.PUNT, flags=abi.FlowFlag.LOCK)
    for sequence in (65535, 0):
        plane.tc.run(bytes(Frame(SENDER, LOCAL, bytes(Rtp(sequence, payload_type=8)))))
    text = re.sub(r"last packet: \d+ ms", "last packet: N ms", listing.read_text())
    number = "{:20d}".format
    assert text == (
        "local inet4 198.51.100.10:30000\n"
        "    expect inet4 192.0.2.1:4000\n"
        "    src mismatch action: propagate\n"
        f"    stats: {number(344)} bytes, {number(2)} packets, {number(0)} errors\n"
        f"        RTP (last payload type   8): {number(344)} bytes, {number(2)} packets\n"
        "    last packet: N ms ago\n"
        "    SSRC in: aabbccdd [seq 1/0]\n"
        "    options: RTP-stats SSRC-tracking\n"
        "    output #0 (media #0)\n"
        "       src inet4 203.0.113.5:30002\n"
        "       dst inet4 203.0.113.77:5004\n"
        f"       stats: {number(344)} bytes, {number(2)} packets, {number(0)} errors\n"
        "       SSRC out: feed [seq +5]\n"
        "    output #1 (media #0)\n"
        "       src inet4 203.0.113.5:30004\n"
        "       dst inet4 203.0.113.78:5004\n"
        f"       stats: {number(344)} bytes, {number(2)} packets, {number(0)} errors\n"
        "\n"
    )


def test_a_port_for_rtcp_names_who_sends_it_and_where_it_goes(plane: Plane, listing: Path) -> None:
    plane.put_output(3, Endpoint("203.0.113.5", 30003), Endpoint("203.0.113.77", 5005))
    plane.put_flow(LOCAL.with_port(30001), None, rtcp_expected=SENDER.with_port(4001), rtcp_output=3)
    number = "{:20d}".format
    assert listing.read_text() == (
        "local inet4 198.51.100.10:30001\n"
        "    expect inet4 192.0.2.1:4001\n"
        "    src mismatch action: drop\n"
        f"    stats: {number(0)} bytes, {number(0)} packets, {number(0)} errors\n"
        "    options: RTP-stats SSRC-tracking forward-RTCP\n"
        "    output #0 (media #0)\n"
        "       src inet4 203.0.113.5:30003\n"
        "       dst inet4 203.0.113.77:5005\n"
        f"       stats: {number(0)} bytes, {number(0)} packets, {number(0)} errors\n"
        "\n"
    )


def test_a_port_that_takes_both_names_who_sends_rtp(plane: Plane, listing: Path) -> None:
    plane.put_output(3, Endpoint("203.0.113.5", 30002), Endpoint("203.0.113.77", 5004))
    plane.put_flow(LOCAL, SENDER, range(3, 4), rtcp_expected=SENDER.with_port(4001), rtcp_output=3)
    text = listing.read_text()
    assert re.findall("expect .*", text) == ["expect inet4 192.0.2.1:4000"]
    assert "options: RTP-stats SSRC-tracking forward-RTCP XDP\n" in text
    assert text.count("output #") == 1


def test_packets_are_not_all_said_to_be_of_the_latest_payload_type(plane: Plane, listing: Path) -> None:
    plane.put_output(3, Endpoint("203.0.113.5", 30002), Endpoint("203.0.113.77", 5004))
    plane.put_flow(LOCAL, SENDER, range(3, 4))
    for sequence, payload_type in enumerate((8, 8, 0)):
        plane.tc.run(bytes(Frame(SENDER, LOCAL, bytes(Rtp(sequence, payload_type=payload_type)))))
    assert re.search(r"RTP \(last payload type +0\): +516 bytes, +3 packets\n", listing.read_text())


def test_ip6_is_in_brackets(plane: Plane, listing: Path) -> None:
    plane.put_flow(Endpoint("2001:db8::10", 30000), Endpoint("2001:db8::1", 4000))
    lines = listing.read_text().splitlines()
    assert lines[0] == "local inet6 [2001:0db8:0000:0000:0000:0000:0000:0010]:30000"
    assert "    src mismatch action: drop" in lines
    assert "    options: RTP-stats SSRC-tracking non-forwarding XDP" in lines


@pytest.mark.parametrize("family", ["ip4", "ip6"])
@pytest.mark.parametrize("count", [96, 97, 256])
def test_all_outputs_are_listed_holes_are_not(plane: Plane, listing: Path, family: str, count: int) -> None:
    """With counters as long as a busy year makes them."""
    base = "2001:db8:ffff:ffff:ffff:ffff:ffff:" if family == "ip6" else "198.51.100."
    receivers = [Endpoint.parse(f"{base}{100 + i % 100}", 50000 + i) for i in range(count)]
    for i, receiver in enumerate(receivers):
        plane.put_output(i, receiver.with_port(30000), receiver, flags=READY, ssrc=0xFFFFFFFF)
        plane.put_sent(i, Sent(packets=10**10, bytes=10**13, errors=10**6))
    plane.hole(7)
    plane.put_flow(LOCAL, SENDER, range(count))
    plane.put_flow(LOCAL.with_port(30002), SENDER, range(count))
    text = listing.read_text()
    assert len(re.findall(r"^local ", text, re.M)) == 2
    assert len(re.findall(r"output #7 ", text)) == 0
    for i in range(count):
        assert len(re.findall(rf"output #{i} ", text)) == (0 if i == 7 else 2)
    assert text.count("10000000000 packets") == 2 * (count - 1)


def test_the_outputs_of_a_bundle_are_listed_by_medium(plane: Plane, listing: Path) -> None:
    for i in range(4):
        plane.put_output(i, Endpoint("203.0.113.5", 30002 + i), Endpoint("203.0.113.77", 5004 + i))
    lanes = [
        plane.lane(LOCAL, SENDER, range(1), {0: (8000, False)}),
        plane.lane(LOCAL, SENDER, range(1, 4), {96: (90000, False)}),
    ]
    plane.put_bundle(LOCAL, SENDER, lanes, {0: 0, 96: 1})
    plane.tc.run(bytes(Frame(SENDER, LOCAL, bytes(Rtp(payload_type=96)))))
    text = listing.read_text()
    assert text.count("local inet4") == 1
    assert "options: RTP-stats SSRC-tracking XDP bundle\n" in text
    assert re.findall(r"output #(\d) \(media #(\d)\)", text) == [("0", "0"), ("0", "1"), ("1", "1"), ("2", "1")]


def test_a_bundle_of_many_is_listed_as_far_as_there_is_room(plane: Plane, listing: Path) -> None:
    """The kernel would refuse the whole text if one flow's were too long."""
    for i in range(512):
        plane.put_output(
            i, Endpoint("2001:db8:ffff:ffff:ffff:ffff:ffff:1", 30000), Endpoint.parse("2001:db8::1", 50000)
        )
        plane.put_sent(i, Sent(packets=10**10, bytes=10**13, errors=10**6))
    lanes = [plane.lane(LOCAL, SENDER, range(256 * n, 256 * n + 256), {n: (8000, False)}) for n in range(2)]
    plane.put_bundle(LOCAL, SENDER, lanes, {0: 0, 1: 1})
    text = listing.read_text()
    assert text.count("output #") == 256
    assert "    media #0, 256 of 256 outputs:\n" in text
    assert "    media #1, 0 of 256 outputs:\n" in text
