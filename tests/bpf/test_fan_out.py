"""One packet in, n different packets out: every output its own addresses and SSRC, each exactly once.

                                  +--> down0 --> out0:  outputs 0, 2, 4 ...
    in0 --> up0 [XDP | tc] group -+
                                  +--> down1 --> out1:  outputs 1, 3, 5 ...

Outputs alternate between the devices, which are flushed one after the other: the hardest order for the egress program,
that has to find out by itself which copy it has in hand (ebpf/lib/broadcast.h).
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rtprelay.kernel import abi
from rtprelay.kernel.libbpf import BPF_MAP_TYPE_DEVMAP, Map
from rtprelay.values import Endpoint
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import MAC_IN, MAC_OUT, index
from tests.bpf.stage import Stage

pytestmark = [pytest.mark.root, pytest.mark.netns]
GROUP = 2
BASE = 40


class Conference:
    """One publisher and n subscribers."""

    def __init__(self, stage: Stage, v6: bool = False) -> None:
        self.stage = stage
        self.plane = stage.plane
        self.sender = Endpoint("2001:db8::1", 4000) if v6 else Endpoint("192.0.2.1", 4000)
        self.local = Endpoint("2001:db8::10", 30000) if v6 else Endpoint("198.51.100.10", 30000)
        self._net = "2001:db8:5::" if v6 else "203.0.113."
        self.devmap: Map | None = None
        self.tags: dict[int, tuple[int, ...]] = {}
        """Of the outputs that have some."""

    def source(self, i: int) -> Endpoint:
        return Endpoint.parse(f"{self._net}{10 + i % 100}", 30002 + 2 * i)

    def receiver(self, i: int) -> Endpoint:
        return Endpoint.parse(f"{self._net}{110 + i % 100}", 40000 + i)

    @staticmethod
    def ssrc(i: int) -> int:
        return 0x5500_0000 + i

    def device(self, i: int) -> int:
        return i % len(self.stage.down)

    def put_output(self, i: int) -> None:
        ifindex = self.stage.down[self.device(i)]
        self.plane.put_output(
            *(BASE + i, self.source(i), self.receiver(i)),
            ifindex=ifindex,
            ssrc=self.ssrc(i),
            sequence_offset=i,
            vlan=self.tags.get(i, ()),
        )

    def _group(self, count: int) -> Map:
        """A devmap looks its devices up in the namespace of who fills it."""
        devmap = Map.create(BPF_MAP_TYPE_DEVMAP, "group", 4, 8, count)
        egress = self.plane.programs["relay_egress"].fd
        for i in range(count):
            devmap.update(index(i), bytes(abi.GroupEntry(self.stage.down[self.device(i)], egress)))
        return devmap

    def open(self, count: int, xdp: bool) -> None:
        if xdp and count > 1:
            self.devmap = self.stage.relay.call(lambda: self._group(count))
            self.plane.maps["rtprelay_groups"].update(index(GROUP), index(self.devmap.fd))
        for i in range(count):
            self.put_output(i)
        flags = abi.FlowFlag.LOCK | (abi.FlowFlag.XDP if xdp else abi.FlowFlag(0))
        self.plane.put_flow(self.local, self.sender, range(BASE, BASE + count), flags=flags, group=GROUP)

    def frame(self, rtp: Rtp) -> Frame:
        return Frame(self.sender, self.local, bytes(rtp))

    def copy(self, i: int, rtp: Rtp) -> bytes:
        """What receiver i must get."""
        own = replace(rtp, ssrc=self.ssrc(i), sequence=(rtp.sequence + i) & 0xFFFF)
        return bytes(Frame(self.source(i), self.receiver(i), bytes(own), MAC_OUT, MAC_IN, ttl=64))


@pytest.fixture
def conference(stage: Stage) -> Iterator[Conference]:
    stage.plane.reset()
    stage.heard(0)
    made = Conference(stage)
    yield made
    if made.devmap:
        stage.plane.maps["rtprelay_groups"].delete(index(GROUP))
        made.devmap.close()


@pytest.mark.parametrize("path", ["xdp", "tc"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 17, 32, 33, 100, 256])
def test_every_output_gets_its_own_packet_exactly_once(conference: Conference, path: str, count: int) -> None:
    conference.open(count, xdp=path == "xdp")
    packets = [Rtp(sequence=1000 + n, timestamp=160 * n) for n in range(20 if count <= 33 else 4)]
    for rtp in packets:
        conference.stage.send(bytes(conference.frame(rtp)))
        heard = conference.stage.heard(count)
        right = sorted((conference.device(i), conference.copy(i, rtp)) for i in range(count))
        assert sorted(heard) == right
    plane = conference.plane
    assert [plane.sent(BASE + i).packets for i in range(count)] == [len(packets)] * count
    assert plane.counts() == {f"{path}_forwarded": len(packets)}


@pytest.mark.parametrize("path", ["xdp", "tc"])
def test_bursts_keep_packets_apart(conference: Conference, path: str) -> None:
    """Several packets in one poll: copies of all of them wait in the same bulk queues."""
    count = 5
    conference.open(count, xdp=path == "xdp")
    packets = [Rtp(sequence=n, timestamp=160 * n) for n in range(40)]
    for rtp in packets:
        conference.stage.send(bytes(conference.frame(rtp)))
    heard = conference.stage.heard(count * len(packets))
    right = [(conference.device(i), conference.copy(i, rtp)) for rtp in packets for i in range(count)]
    assert Counter(heard) == Counter(right)


@pytest.mark.parametrize("path", ["xdp", "tc"])
def test_ip6_receivers(conference: Conference, path: str) -> None:
    own = Conference(conference.stage, v6=True)
    own.open(9, xdp=path == "xdp")
    rtp = Rtp()
    own.stage.send(bytes(own.frame(rtp)))
    assert sorted(own.stage.heard(9)) == sorted((own.device(i), own.copy(i, rtp)) for i in range(9))


def test_copies_of_a_tagged_packet_are_written_behind_its_tag(conference: Conference) -> None:
    """Where they arrive the kernel takes the tag off before anybody listens."""
    conference.tags = {i: (100 + i,) for i in range(4)}
    conference.open(5, xdp=True)
    rtp = Rtp()
    conference.stage.send(bytes(replace(conference.frame(rtp), vlan=(7,))))
    heard = conference.stage.heard(4)
    assert sorted(heard) == sorted((conference.device(i), conference.copy(i, rtp)) for i in range(4))
    assert conference.plane.counts()["drop_output_not_ready"] == 1, "the one without a tag"


def test_a_single_output_on_the_device_the_packet_came_by_sends_it_back_there(conference: Conference) -> None:
    """A relay with one leg, and a room on other devices beside it."""
    conference.open(5, xdp=True)
    stage, plane = conference.stage, conference.plane
    sender, local = Endpoint("192.0.2.1", 5000), Endpoint("198.51.100.10", 31000)
    plane.put_output(0, conference.source(0), conference.receiver(0), ifindex=stage.up, tos=0x20)
    plane.put_flow(local, sender, range(1))
    for sequence in range(20):
        rtp = Rtp(sequence=sequence)
        call = Frame(sender, local, bytes(rtp))
        stage.send(bytes(conference.frame(rtp)))
        stage.send(bytes(call))
        own = replace(call, source=conference.source(0), destination=conference.receiver(0), ttl=64, tos=0x20)
        right = [(conference.device(i), conference.copy(i, rtp)) for i in range(5)]
        right.append((stage.home, bytes(replace(own, destination_mac=MAC_OUT, source_mac=MAC_IN))))
        assert sorted(stage.heard(6)) == sorted(right)


def test_a_local_senders_checksum_is_completed_once_for_all_copies(conference: Conference) -> None:
    """A UDP socket on veth hands over CHECKSUM_PARTIAL: simulated by the pseudo-header's sum in the field."""
    conference.open(4, xdp=True)
    rtp = Rtp(payload=bytes(range(101)))
    frame = conference.frame(rtp)
    conference.stage.send(bytes(replace(frame, udp_checksum=frame.pseudo_sum)))
    assert sorted(conference.stage.heard(4)) == sorted(
        (conference.device(i), conference.copy(i, rtp)) for i in range(4)
    )
    assert conference.plane.counts()["checksum_completed"] == 1


@pytest.mark.parametrize("path", ["xdp", "tc"])
def test_a_hole_gets_nothing_and_moves_nobody(conference: Conference, path: str) -> None:
    conference.open(8, xdp=path == "xdp")
    for gone in (0, 3, 7):
        conference.plane.hole(BASE + gone)
    rtp = Rtp()
    conference.stage.send(bytes(conference.frame(rtp)))
    left = [i for i in range(8) if i not in (0, 3, 7)]
    assert sorted(conference.stage.heard(len(left))) == sorted(
        (conference.device(i), conference.copy(i, rtp)) for i in left
    )
    assert conference.plane.counts().get("drop_output_hole", 0) == (3 if path == "xdp" else 0)


def test_copies_without_an_output_end_and_outputs_without_a_copy_get_no_wrong_one(conference: Conference) -> None:
    """A group and its outputs are changed one after the other: what is between must do no harm."""
    conference.open(6, xdp=True)
    assert conference.devmap
    rtp = Rtp()
    for position in (2, 5):
        conference.devmap.delete(index(position))
    conference.stage.send(bytes(conference.frame(rtp)))
    fewer = conference.stage.heard(4)
    assert sorted(fewer) == sorted((conference.device(i), conference.copy(i, rtp)) for i in (0, 1, 2, 3))
    conference.plane.put_output(BASE + 0, conference.source(0), conference.receiver(0), ifindex=9999)
    conference.plane.put_output(BASE + 1, conference.source(1), conference.receiver(1), ifindex=9999)
    conference.stage.send(bytes(conference.frame(rtp)))
    assert sorted(conference.stage.heard(4)) == sorted(
        (conference.device(i), conference.copy(i, rtp)) for i in (2, 3, 4, 5)
    )
    for position in (2, 3):
        conference.plane.put_output(BASE + position, conference.source(1), conference.receiver(1), ifindex=9999)
    conference.stage.send(bytes(conference.frame(rtp)))
    assert sorted(conference.stage.heard(2)) == sorted((conference.device(i), conference.copy(i, rtp)) for i in (4, 5))
    assert conference.plane.counts()["drop_output_surplus"] == 2


def test_a_device_that_is_down_costs_the_others_nothing(conference: Conference) -> None:
    conference.open(6, xdp=True)
    conference.stage.relay.ip("link", "set", "down0", "down")
    try:
        rtp = Rtp()
        conference.stage.send(bytes(conference.frame(rtp)))
        heard = conference.stage.heard(3)
        assert sorted(heard) == sorted((1, conference.copy(i, rtp)) for i in (1, 3, 5))
    finally:
        conference.stage.relay.ip("link", "set", "down0", "up")


@pytest.mark.parametrize("path", ["xdp", "tc"])
@pytest.mark.parametrize(
    ("count", "churned", "sent"),
    [(12, (2, 5, 11), 400), (64, (0, 33, 63), 150), (256, (7, 8, 255), 100)],
)
def test_outputs_come_and_go_while_traffic_flows(
    conference: Conference, path: str, count: int, churned: tuple[int, ...], sent: int
) -> None:
    """The others miss nothing; nobody gets another's packet or one twice."""
    conference.open(count, xdp=path == "xdp")
    packets = [Rtp(sequence=n, timestamp=160 * n) for n in range(sent)]
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            for i in churned:
                conference.plane.hole(BASE + i)
                os.sched_yield()
                conference.put_output(i)

    heard = []
    churner = threading.Thread(target=churn)
    churner.start()
    try:
        for rtp in packets:
            conference.stage.send(bytes(conference.frame(rtp)))
            heard += conference.stage.heard(count - len(churned))
    finally:
        done.set()
        churner.join()
    heard += conference.stage.heard(0)
    copies = Counter(heard)
    owner = {(conference.device(i), conference.copy(i, rtp)): i for rtp in packets for i in range(count)}
    assert set(copies) <= set(owner), "everything that arrived was right"
    assert max(copies.values()) == 1
    received = Counter(owner[copy] for copy in copies)
    for i in range(count):
        assert received[i] == len(packets) if i not in churned else 0 < received[i] <= len(packets)
    assert conference.stage.unheard() == 0
