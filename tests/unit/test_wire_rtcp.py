"""RTCP is read, built and rewritten within its bounds (RFC 3550 section 6, RFC 4585, RFC 5104, RFC 3611)."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.errors import MalformedMessage
from rtprelay.wire import rtcp

SPEAKER, HEARD, STRANGER = 0xAAAA0001, 0xBBBB0002, 0xCCCC0003

BLOCK = rtcp.ReportBlock(HEARD, 64, -3, 0x0001FFFF, 17, 0x12345678, 65536)
REPORT = rtcp.SenderReport(SPEAKER, 0x1122334455667788, 4000, 25, 4300, (BLOCK,))

words = st.integers(0, 0xFFFFFFFF)
blocks = st.lists(
    st.builds(
        rtcp.ReportBlock, words, st.integers(0, 255), st.integers(-(1 << 23), (1 << 23) - 1), words, words, words, words
    ),
    max_size=31,
).map(tuple)
items = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=20)), max_size=4).map(tuple)
octets4 = st.integers(0, 5).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
compounds = st.lists(
    st.one_of(
        st.builds(rtcp.SenderReport, words, st.integers(0, (1 << 64) - 1), words, words, words, blocks),
        st.builds(rtcp.ReceiverReport, words, blocks),
        st.builds(rtcp.SourceDescription, st.lists(st.builds(rtcp.SdesChunk, words, items), max_size=31).map(tuple)),
        st.builds(rtcp.Goodbye, st.lists(words, max_size=31).map(tuple), st.binary(max_size=30)),
        st.builds(rtcp.Application, st.integers(0, 31), words, st.binary(min_size=4, max_size=4), octets4),
        st.builds(rtcp.Feedback, st.sampled_from([205, 206]), st.integers(0, 31), words, words, octets4),
        # From 208 on: an extended report (207) has blocks of its own, and random bytes are none.
        st.builds(rtcp.OtherPacket, st.integers(208, 223), st.integers(0, 31), octets4),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


@given(compounds)
def test_what_was_built_is_read_back(packets: tuple[rtcp.RtcpPacket, ...]) -> None:
    assert rtcp.parse(rtcp.build(packets)) == packets


@given(st.lists(st.tuples(st.integers(0x80, 0xBF), st.integers(192, 223), st.binary(max_size=60)), max_size=3))
def test_any_bytes_are_read_or_malformed(frames: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(bytes([first, kind]) + (len(body) // 4).to_bytes(2) + body for first, kind, body in frames)
    with contextlib.suppress(MalformedMessage):
        assert 4 * len(rtcp.parse(data)) <= len(data)
    with contextlib.suppress(MalformedMessage):
        assert len(rtcp.rewrite(data, rtcp.Substitution(1, 2, {0: rtcp.Target(3, 4)}))) == len(data)


@given(compounds, words)
def test_rewriting_to_the_same_names_changes_nothing(packets: tuple[rtcp.RtcpPacket, ...], ssrc: int) -> None:
    data = rtcp.build(packets)
    assert rtcp.rewrite(data, rtcp.Substitution(None, 0, {ssrc: rtcp.Target(ssrc)})) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\xc8\x00",
        b"\x40\xc9\x00\x01" + bytes(4),
        b"\x80\xc9\x00\x02" + bytes(4),
        b"\x81\xc9\x00\x01" + bytes(4),
        b"\x80\xc8\x00\x01" + bytes(4),
        b"\xa0\xc9\x00\x01" + bytes(4),
        b"\xa0\xc9\x00\x01" + b"\x00\x00\x00\x09",
        b"\x81\xca\x00\x02" + bytes(4) + b"\x01\x09ab",
        b"\x81\xca\x00\x02" + bytes(4) + b"\x01\x02ab",
        b"\x82\xcb\x00\x01" + bytes(4),
        b"\x81\xcb\x00\x02" + bytes(4) + b"\x09abc",
        b"\x81\xcd\x00\x01" + bytes(4),
        b"\x80\xcc\x00\x01" + bytes(4),
    ],
)
def test_lengths_beyond_the_end_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        rtcp.parse(data)


def test_a_speaker_is_renamed_wherever_it_speaks() -> None:
    data = rtcp.build(
        (
            REPORT,
            rtcp.SourceDescription((rtcp.SdesChunk(SPEAKER, ((1, b"a@b"),)), rtcp.SdesChunk(STRANGER))),
            rtcp.Application(3, SPEAKER, b"test", b"1234"),
            rtcp.Goodbye((STRANGER, SPEAKER), b"done"),
        )
    )
    report, description, application, goodbye = rtcp.parse(rtcp.rewrite(data, rtcp.Substitution(7, -1000)))
    assert report == rtcp.SenderReport(7, REPORT.ntp, 3000, 25, 4300, (BLOCK,))
    assert description == rtcp.SourceDescription((rtcp.SdesChunk(7, ((1, b"a@b"),)), rtcp.SdesChunk(STRANGER)))
    assert application == rtcp.Application(3, 7, b"test", b"1234")
    assert goodbye == rtcp.Goodbye((STRANGER, 7), b"done")


def test_a_target_is_renamed_wherever_it_is_spoken_of() -> None:
    remb = b"REMB" + bytes([2, 0x18, 0x27, 0x10]) + struct.pack("!II", STRANGER, HEARD)
    data = rtcp.build(
        (
            rtcp.ReceiverReport(SPEAKER, (BLOCK,)),
            rtcp.Feedback(205, 1, SPEAKER, HEARD, struct.pack("!HHHH", 1005, 0x0003, 2, 0)),
            rtcp.Feedback(206, 1, SPEAKER, HEARD),
            rtcp.Feedback(206, 4, SPEAKER, 0, struct.pack("!IB3x", HEARD, 9)),
            rtcp.Feedback(206, 15, SPEAKER, 0, remb),
            rtcp.OtherPacket(207, 0, struct.pack("!IBBHIII", SPEAKER, 5, 0, 3, HEARD, 1, 2)),
            rtcp.OtherPacket(207, 0, struct.pack("!IBBHIHH", SPEAKER, 1, 0, 2, HEARD, 1, 2)),
        )
    )
    report, nack, pli, fir, estimate, delays, losses = rtcp.parse(
        rtcp.rewrite(data, rtcp.Substitution(targets={HEARD: rtcp.Target(9, 1000)}))
    )
    assert report == rtcp.ReceiverReport(
        SPEAKER, (rtcp.ReportBlock(9, 64, -3, 0x0001FFFF - 1000, 17, 0x12345678, 65536),)
    )
    assert isinstance(nack, rtcp.Feedback)
    assert (nack.media, rtcp.nacked(nack)) == (9, (5, 6, 7, 0xFC1A))
    assert isinstance(pli, rtcp.Feedback)
    assert (pli.media, rtcp.picture_loss(pli)) == (9, True)
    assert isinstance(fir, rtcp.Feedback)
    assert rtcp.full_intra_requests(fir) == ((9, 9),)
    assert isinstance(estimate, rtcp.Feedback)
    assert rtcp.estimate(estimate) == rtcp.BandwidthEstimate((0x2710) << 6, (STRANGER, 9))
    assert isinstance(delays, rtcp.OtherPacket)
    assert delays.body[8:12] == (9).to_bytes(4)
    assert isinstance(losses, rtcp.OtherPacket)
    assert losses.body[8:12] == (9).to_bytes(4)


def test_feedback_of_another_kind_is_not_mistaken() -> None:
    nack = rtcp.Feedback(205, 1, SPEAKER, HEARD, bytes(4))
    assert rtcp.full_intra_requests(nack) == ()
    assert rtcp.estimate(nack) is None
    assert not rtcp.picture_loss(nack)
    assert rtcp.nacked(rtcp.Feedback(206, 1, SPEAKER, HEARD, bytes(4))) == ()
