"""One SRTP packet in, n different packets out, each under its receiver's own key and suite.

                                  +--> down0 --> out0:  outputs 0, 2, 4 ...
    in0 --> up0 [XDP | tc] group -+
                                  +--> down1 --> out1:  outputs 1, 3, 5 ...

Decrypted once where it comes in, encrypted for each copy on its way out; some receivers get plain RTP.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rtprelay.kernel import abi
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpContext, SrtpParameters
from rtprelay.security.suites import SUITES
from tests.bpf.frames import Frame, Rtp
from tests.bpf.plane import MAC_IN, MAC_OUT, index
from tests.bpf.stage import Stage
from tests.bpf.test_fan_out import BASE, GROUP, Conference

pytestmark = [pytest.mark.root, pytest.mark.netns]
PATHS = pytest.mark.parametrize("path", ["xdp", "tc"])
OUT = ("AES_CM_128_HMAC_SHA1_80", None, "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_32", "NULL_HMAC_SHA1_80")


def keys_of(name: str) -> SrtpParameters:
    suite = SUITES[name]
    return SrtpParameters(suite, MasterKey(os.urandom(suite.key_length), os.urandom(suite.salt_length), os.urandom(2)))


class SecureConference(Conference):
    """Publisher and subscribers have keys; `seen` are the parties' own ideas of what they should get."""

    def __init__(self, stage: Stage, count: int, published: SrtpParameters | None) -> None:
        super().__init__(stage)
        self.published = published
        self.publisher = SrtpContext(published) if published else None
        names = [OUT[i % len(OUT)] for i in range(count)]
        self.keys = [keys_of(name) if name else None for name in names]
        self.seen = [SrtpContext(keys) if keys else None for keys in self.keys]

    def put_output(self, i: int) -> None:
        ifindex = self.stage.down[self.device(i)]
        self.plane.put_output(
            BASE + i,
            self.source(i),
            self.receiver(i),
            ifindex=ifindex,
            ssrc=self.ssrc(i),
            sequence_offset=i,
            srtp=self.keys[i],
        )

    def start(self, path: str) -> None:
        xdp = path == "xdp"
        self.open(len(self.keys), xdp)
        flags = abi.FlowFlag.LOCK | (abi.FlowFlag.XDP if xdp else abi.FlowFlag(0))
        outputs = range(BASE, BASE + len(self.keys))
        self.plane.put_flow(self.local, self.sender, outputs, flags=flags, group=GROUP, srtp=self.published)

    def frame(self, rtp: Rtp) -> Frame:
        plain = super().frame(rtp)
        return plain if self.publisher is None else replace(plain, payload=self.publisher.protect(bytes(rtp)))

    def copy(self, i: int, rtp: Rtp) -> bytes:
        own = bytes(replace(rtp, ssrc=self.ssrc(i), sequence=(rtp.sequence + i) & 0xFFFF))
        seen = self.seen[i]
        payload = own if seen is None else seen.protect(own)
        return bytes(Frame(self.source(i), self.receiver(i), payload, MAC_OUT, MAC_IN, ttl=64))


@pytest.fixture
def make(stage: Stage) -> Iterator[list[SecureConference]]:
    """Put a conference in here, for it to be cleared away."""
    stage.plane.reset()
    stage.heard(0)
    made: list[SecureConference] = []
    yield made
    for conference in made:
        if conference.devmap:
            stage.plane.maps["rtprelay_groups"].delete(index(GROUP))
            conference.devmap.close()


def conference(
    stage: Stage, make: list[SecureConference], count: int, path: str, plain: bool = False
) -> SecureConference:
    """`plain`: the publisher has no key."""
    made = SecureConference(stage, count, None if plain else keys_of("AEAD_AES_256_GCM"))
    make.append(made)
    made.start(path)
    return made


@PATHS
@pytest.mark.parametrize("count", [1, 2, 5, 11, 40])
def test_every_receiver_gets_its_own_packet_under_its_own_key(
    stage: Stage, make: list[SecureConference], path: str, count: int
) -> None:
    room = conference(stage, make, count, path)
    for sequence in (65_534, 65_535, 65_536, 65_540, 65_538):
        rtp = Rtp(sequence=sequence & 0xFFFF, payload=os.urandom(sequence % 173))
        stage.send(bytes(room.frame(rtp)))
        assert sorted(stage.heard(count)) == sorted((room.device(i), room.copy(i, rtp)) for i in range(count))
    assert [stage.plane.sent(BASE + i).packets for i in range(count)] == [5] * count
    assert stage.plane.counts() == {f"{path}_forwarded": 5}


@PATHS
def test_packets_of_any_length_reach_all_where_each_copy_has_to_grow(
    stage: Stage, make: list[SecureConference], path: str
) -> None:
    """Whether a driver has left room behind a frame depends on its length; where none is, tc makes the copies."""
    room = conference(stage, make, 3, path, plain=True)
    for sequence, length in enumerate(range(64, 320, 3)):
        rtp = Rtp(sequence=sequence, payload=os.urandom(length))
        stage.send(bytes(room.frame(rtp)))
        assert sorted(stage.heard(3)) == sorted((room.device(i), room.copy(i, rtp)) for i in range(3)), length


@PATHS
def test_a_forgery_reaches_nobody(stage: Stage, make: list[SecureConference], path: str) -> None:
    room = conference(stage, make, 5, path)
    genuine = room.frame(Rtp(sequence=1))
    stage.send(bytes(replace(genuine, payload=genuine.payload[:-1] + bytes([genuine.payload[-1] ^ 1]))))
    stage.send(bytes(genuine))
    stage.send(bytes(genuine))
    heard = stage.heard(5)
    assert sorted(heard) == sorted((room.device(i), room.copy(i, Rtp(sequence=1))) for i in range(5))
    counts = stage.plane.counts()
    assert counts == {f"{path}_forwarded": 1, "drop_srtp_auth": 1, "drop_srtp_replay": 1}


@PATHS
def test_a_receiver_whose_key_is_gone_gets_nothing_and_the_others_everything(
    stage: Stage, make: list[SecureConference], path: str
) -> None:
    room = conference(stage, make, 6, path)
    gone = room.keys[2]
    assert gone
    stage.plane.drop_key(gone)
    rtp = Rtp(sequence=9)
    stage.send(bytes(room.frame(rtp)))
    left = [i for i in range(6) if i != 2]
    assert sorted(stage.heard(5)) == sorted((room.device(i), room.copy(i, rtp)) for i in left)
    assert stage.plane.counts()["drop_srtp_no_key"] == 1
    assert stage.plane.sent(BASE + 2).errors == 1
