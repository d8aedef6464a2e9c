"""User agents that bring their own media: sipp streaming a file, baresip playing and recording.

sipp / baresip (caller) -- SIP --> Kamailio -- SIP --> sipp / baresip (callee)
     \\== RTP, seen by a tap ==> west [ relay ] east == RTP, seen by a tap ==/
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.harness import audio
from tests.e2e.harness.baresip import Baresip
from tests.e2e.harness.polling import until
from tests.e2e.harness.sipp import Sipp
from tests.e2e.harness.stage import Stage
from tests.e2e.harness.tap import Tap

_ports = itertools.count(8000)


@pytest.fixture
def taps(scene: Stage) -> Iterator[tuple[Tap, Tap]]:
    if scene.lab.on_loopback:
        pytest.skip("a tap on lo sits in front of tc and cannot see what arrives")
    with Tap(scene.lab.caller) as west, Tap(scene.lab.callee) as east:
        yield west, east


def wait_for_silence(taps: tuple[Tap, Tap]) -> None:
    """Until neither side has sent anything for ten packet times."""
    counts: list[int] = []

    def silent() -> bool:
        counts.append(sum(tap.rtp(sent=True).total() for tap in taps))
        return len(counts) > 20 and len(set(counts[-20:])) == 1

    until(silent, "silence")


def assert_nothing_lost(taps: tuple[Tap, Tap]) -> None:
    """What left one site reached the other, bit by bit, in both directions."""
    west, east = taps
    for here, there in ((west, east), (east, west)):
        sent = here.rtp(sent=True)
        assert sent
        there.hears(sent.total())
        assert there.rtp(sent=False) == sent


def test_sipp_streams_both_ways(scene: Stage, taps: tuple[Tap, Tap]) -> None:
    (scene.workdir / "audio.raw").write_bytes(audio.ulaw(audio.tone(440, 1)))
    proxy = scene.proxy()
    with ExitStack() as stack:
        callee = stack.enter_context(Sipp("streaming_callee", scene.lab.callee, next(_ports), scene.workdir))
        proxy.register("streamer", scene.lab.callee, callee.port)
        caller = stack.enter_context(
            Sipp(
                "streaming_caller",
                scene.lab.caller,
                next(_ports),
                scene.workdir,
                target=(proxy.address(4), proxy.port),
                user="streamer",
            )
        )
        caller.tell("stream", "invite")
        caller.gets("stream", "200 INVITE")
        callee.gets("stream", "ACK")
        for tap in taps:
            tap.hears(60)
        for agent in (caller, callee):
            agent.tell("stream", "pause")
        # The thread that streams takes notice of the pause at its next packet.
        wait_for_silence(taps)
        assert_nothing_lost(taps)
        caller.tell("stream", "bye")
        caller.gets("stream", "200 BYE")
        scene.assert_gone("stream")


@pytest.mark.parametrize(
    ("defines", "secured"),
    [((), ""), (("WITH_PLAIN_CALLEES",), "caller"), (("WITH_SRTP_CALLEES",), "callee")],
    ids=["rtp", "srtp-to-rtp", "rtp-to-srtp"],
)
def test_baresip_hears_the_other_ones_tone(scene: Stage, defines: tuple[str, ...], secured: str) -> None:
    """Also where one of them will have SRTP or no call at all, and the other has none (SDES, RFC 4568)."""
    proxy = scene.proxy(*defines)
    target = (proxy.address(4), proxy.port)
    with (
        Baresip(
            "carol", scene.lab.callee, next(_ports), target, scene.workdir, hertz=900, secured=secured == "callee"
        ) as carol,
        Baresip(
            "dave", scene.lab.caller, next(_ports), target, scene.workdir, hertz=400, secured=secured == "caller"
        ) as dave,
    ):
        dave.dial("carol")
        for phone in (dave, carol):
            phone.sees("CALL_ESTABLISHED")
        for phone in (dave, carol):
            phone.hears(0.5)
        with scene.relay.reading_at_most(0, rtcp=10):
            for phone in (dave, carol):
                phone.hears(1.5)
        dave.hang_up()
        for phone in (dave, carol):
            phone.sees("CALL_CLOSED")
        with scene.relay.client() as ng:
            until(lambda: not ng.calls(), "the call to be removed")
        for phone, other, own in ((dave, 900, 400), (carol, 400, 900)):
            heard = phone.recording()
            assert audio.share(heard, other) > 0.9
            assert audio.share(heard, own) < 0.05
