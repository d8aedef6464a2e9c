"""One publisher, many subscribers, over ng alone: `publish`, `subscribe request`, `subscribe answer`, `unsubscribe`.

publisher (caller namespace) == RTP ==> west [ relay ] ==> n receivers (callee namespace)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.e2e.harness import ffmpeg, sdp
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Address, Party
from tests.e2e.harness.stage import Stage
from tests.e2e.ng import NgClient


@dataclass
class Subscriber:
    """A receiver, and the relay port its copies come from."""

    tag: str
    party: Party
    source: Address


@dataclass
class Room:
    """One publisher's stream and those who listen to it."""

    stage: Stage
    ng: NgClient
    call_id: str
    publisher: Party
    target: Address
    subscribers: list[Subscriber]

    def join(self, family: int = 4) -> Subscriber:
        party = self.stage.party(self.stage.lab.callee, family)
        keys = {"address_family": "IP6"} if family == 6 else {}
        offer = self.ng.subscribe(self.call_id, "publisher", **keys)
        section = sdp.section(offer.sdp)
        assert section.direction == "sendonly"
        answer = sdp.describe(party.address, [party.port], direction="recvonly")
        self.ng.subscribed(self.call_id, offer.text("to-tag"), answer)
        joined = Subscriber(offer.text("to-tag"), party, section.rtp)
        self.subscribers.append(joined)
        return joined

    def leave(self, subscriber: Subscriber) -> None:
        self.ng.unsubscribe(self.call_id, subscriber.tag)
        self.subscribers.remove(subscriber)

    def speak(self, count: int = 20) -> None:
        """Everybody who is in hears all of it, from the port of his own subscription."""
        self.publisher.forget()
        for subscriber in self.subscribers:
            subscriber.party.forget()
        with self.stage.relay.reading_at_most(0):
            # A burst times the number of receivers has to fit into one interface's ring.
            self.publisher.send(self.target, count, spacing=0.001 + 0.00003 * len(self.subscribers))
            for subscriber in self.subscribers:
                subscriber.party.hears(count)
        sent = [packet[12:] for packet in self.publisher.sent]
        for subscriber in self.subscribers:
            heard = subscriber.party.received
            assert [seen.payload for seen in heard] == sent
            assert {seen.source for seen in heard} == {subscriber.source}
            assert len({seen.ssrc for seen in heard}) == 1, "a stream keeps its SSRC"
            steps = {(after.sequence - before.sequence) % 65536 for before, after in pairwise(heard)}
            assert steps == {1}, "no gap in the sequence numbers"


@contextmanager
def room(stage: Stage, call_id: str) -> Iterator[Room]:
    with ExitStack() as stack:
        ng = stack.enter_context(stage.relay.client())
        publisher = stack.enter_context(stage.party(stage.lab.caller))
        offer = sdp.describe(publisher.address, [publisher.port], direction="sendonly")
        published = sdp.section(ng.publish(call_id, "publisher", offer).sdp)
        assert published.direction == "recvonly"
        made = Room(stage, ng, call_id, publisher, published.rtp, [])
        try:
            yield made
        finally:
            for subscriber in made.subscribers:
                subscriber.party.close()
            ng.delete(call_id)
        until(lambda: not ng.knows(call_id), "the room to be closed")


@pytest.mark.parametrize("count", [1, 2, 16, pytest.param(256, marks=pytest.mark.slow)])
def test_every_subscriber_hears_everything_once(scene: Stage, count: int) -> None:
    """256 copies fill a veth ring to its last slot: on a busy machine one may find none (make test ARGS="-m slow")."""
    with room(scene, f"room of {count}") as made:
        for _ in range(count):
            made.join()
        made.speak()
        assert len({subscriber.source for subscriber in made.subscribers}) == count


def test_joins_and_leaves_do_not_touch_the_others(scene: Stage) -> None:
    with room(scene, "churn") as made:
        for _ in range(6):
            made.join()
        made.speak()
        gone = []
        for turn in range(6):
            leaver = made.subscribers[turn % len(made.subscribers)]
            made.leave(leaver)
            gone.append(leaver)
            made.join()
            made.speak(10)
        for leaver in gone:
            leaver.party.forget()
        made.speak(10)
        for leaver in gone:
            assert not leaver.party.collect()
            leaver.party.close()


def test_subscribers_of_both_ip_versions(scene: Stage) -> None:
    if not scene.relay.ours:
        pytest.skip("rtpengine 10.5 ignores address-family in a subscription")
    with room(scene, "families") as made:
        for family in (4, 6, 4, 6):
            made.join(family)
        made.speak()


def test_a_running_call_can_be_listened_to(scene: Stage) -> None:
    with scene.phones() as phones, scene.relay.client() as ng, scene.party(scene.lab.callee) as listener:
        call = phones.establish("tapped")
        call.talk(10)
        caller_tag = phones.caller.gets("tapped", "200 INVITE").tag("From")
        offer = ng.subscribe("tapped", caller_tag)
        answer = sdp.describe(listener.address, [listener.port], direction="recvonly")
        ng.subscribed("tapped", offer.text("to-tag"), answer)
        call.talk(30)
        listener.hears(30)
        assert [seen.payload for seen in listener.received] == [packet[12:] for packet in call.a.sent]
        ng.unsubscribe("tapped", offer.text("to-tag"))
        listener.forget()
        call.talk(10)
        assert not listener.collect()
        phones.hang_up("tapped")


def test_sixteen_recorders_get_the_same_picture_and_sound(scene: Stage) -> None:
    """Real audio and video: ffmpeg publishes H.264 and Opus once, sixteen ffmpegs record; all frames are equal."""
    lab = scene.lab
    directory = scene.workdir / "recordings"
    directory.mkdir()
    source = directory / "source.mkv"
    ffmpeg.encode(source, 3)
    with ExitStack() as stack:
        ng = stack.enter_context(scene.relay.client())
        ports = ffmpeg.Ports(5000, 5002)
        offer = ffmpeg.describe(source, lab.caller, ports)
        accept = {} if scene.relay.ours else {"codec": {"accept": ["any"]}}
        published = sdp.sections(ng.publish("studio", "camera", offer, **accept).sdp)
        assert [section.kind for section in published] == ["audio", "video"]
        recorders = []
        for number in range(16):
            subscription = ng.subscribe("studio", "camera")
            ports_here = ffmpeg.Ports(20000 + 4 * number, 20002 + 4 * number)
            answer = ffmpeg.answer(subscription.sdp, lab.callee, ports_here)
            ng.subscribed("studio", subscription.text("to-tag"), answer)
            recorder = ffmpeg.Recorder(lab.callee, directory, f"recorder-{number}", answer, ports_here)
            stack.callback(recorder.program.end)
            recorders.append(recorder)
        until(lambda: all(recorder.listens() for recorder in recorders), "the recorders to listen", 20)
        with scene.relay.reading_at_most(0, rtcp=12):
            camera = stack.enter_context(ffmpeg.publish(source, lab.caller, ports, published[0].rtp, published[1].rtp))
            assert camera.wait(20) == 0, camera.text
        for recorder in recorders:
            recorder.finish()
        ng.delete("studio")
    for kind in ("v", "a"):
        expected = ffmpeg.frames(source, kind)
        assert len(expected) >= 60
        for recorder in recorders:
            assert ffmpeg.frames(recorder.path, kind) == expected, recorder.path
