"""RTP packets are read within their bounds and written back as they were (RFC 3550 section 5.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.errors import MalformedMessage
from rtprelay.wire import rtp

packets = st.builds(
    rtp.RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    marker=st.booleans(),
    csrcs=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension_profile=st.just(0xBEDE),
    extension=st.integers(0, 6).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)),
    payload=st.binary(max_size=64),
    padding=st.integers(0, 255),
)


@given(packets)
def test_what_was_built_is_read_back(packet: rtp.RtpPacket) -> None:
    assert rtp.parse(rtp.build(packet)) == packet


@given(st.binary(max_size=64), st.integers(0, 255))
def test_any_bytes_are_a_packet_or_malformed(tail: bytes, first: int) -> None:
    data = bytes([0x80 | first & 0x3F]) + tail
    try:
        packet = rtp.parse(data)
    except MalformedMessage:
        return
    assert len(packet.payload) <= len(data) - 12


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80" + bytes(10), "RTP packet shorter than its header"),
        (b"\x40" + bytes(11), "RTP version is not 2"),
        (b"\x81" + bytes(11), "RTP CSRC list exceeds the packet"),
        (b"\x90" + bytes(13), "RTP header extension exceeds the packet"),
        (b"\x90" + bytes(11) + b"\xbe\xde\x00\x01", "RTP header extension exceeds the packet"),
        (b"\xa0" + bytes(11) + b"\x00", "RTP padding exceeds the packet"),
        (b"\xa0" + bytes(11) + b"\x02", "RTP padding exceeds the packet"),
    ],
)
def test_lengths_beyond_the_end_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        rtp.parse(data)
    assert caught.value.reason == reason


def test_distances_cross_the_wrap() -> None:
    assert rtp.sequence_distance(2, 0xFFFE) == 4
    assert rtp.sequence_distance(0xFFFE, 2) == -4
    assert rtp.timestamp_distance(160, 0xFFFFFF60) == 320
    assert rtp.timestamp_distance(0xFFFFFF60, 160) == -320
