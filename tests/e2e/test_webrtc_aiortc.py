"""aiortc, an independent peer: both DTLS roles, full ICE and lite, IPv6, RSA certificates, a bad path, and attackers.

caller namespace: aiortc == STUN, DTLS, SRTP ==> west [ relay ] east == RTP ==> phone in the callee namespace
                  attacker ---- whatever ---->
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator

import pytest

from rtprelay.security.certificate import generate
from rtprelay.security.dtls import DtlsAssociation, DtlsRole, make_context
from rtprelay.wire import stun
from tests.e2e.harness.aiortc_peer import AiortcPeer
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Party
from tests.e2e.harness.sdp import describe, section
from tests.e2e.harness.shim import Shim, lossy
from tests.e2e.harness.stage import Stage, open_stage
from tests.e2e.ng import NgClient
from tools.bencode import Value

TO_PHONE: dict[str, Value] = {
    "ICE": "remove",
    "transport-protocol": "RTP/AVP",
    "rtcp-mux": ["demux"],
    "direction": ["west", "east"],
    "codec": {"strip": ["all"], "offer": ["PCMU"]},
}
TO_PEER: dict[str, Value] = {
    "ICE": "force",
    "transport-protocol": "UDP/TLS/RTP/SAVPF",
    "rtcp-mux": ["offer", "require"],
    "direction": ["east", "west"],
    "flags": ["generate-mid", "no-rtcp-attribute"],
}


@pytest.fixture(scope="session")
def peer(stage: Stage, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiortcPeer]:
    if not stage.relay.ours:
        pytest.skip("rtpengine's own interoperability is not ours to test")
    if stage.lab.on_loopback:
        pytest.skip("aiortc has no candidates on loopback; what it tests is the daemon's, whoever forwards")
    with AiortcPeer(stage.lab.caller.namespace, tmp_path_factory.mktemp(f"aiortc-{kind}") / "log") as peer:
        yield peer


def connected(peer: AiortcPeer, seconds: float = 20) -> None:
    until(lambda: peer.stats("c")["connection"] == "connected", "aiortc to connect", seconds)


def talk(peer: AiortcPeer, phone: Party, target: tuple[str, int], packets: int = 50) -> None:
    """Both ways, until each has heard so many."""

    def heard() -> bool:
        phone.send(target, 10, spacing=0.02)
        return len(phone.collect()) >= packets and peer.stats("c").get("in_audio", {}).get("packets", 0) >= packets

    until(heard, "audio both ways", 30)


def answered(ng: NgClient, phone: Party, **keys: Value) -> str:
    return ng.answer("rtc", "a", "b", describe(phone.address, [phone.port]), **{"ICE": "force", **keys}).sdp


def call_phone(
    ng: NgClient, peer: AiortcPeer, phone: Party, *, lite: str | None = None, role: str | None = None
) -> tuple[str, int]:
    """Where the phone sends to, once the peer is connected."""
    more: dict[str, Value] = {key: value for key, value in (("ICE-lite", lite), ("DTLS-reverse", role)) if value}
    offer = ng.offer("rtc", "a", peer.offer("c"), **TO_PHONE, **more)
    peer.accept("c", answered(ng, phone))
    connected(peer)
    return section(offer.sdp).rtp


@pytest.fixture
def ng(scene: Stage) -> Iterator[NgClient]:
    with scene.relay.client() as client:
        yield client
        client.delete("rtc")


@pytest.fixture
def phone(scene: Stage) -> Iterator[Party]:
    with scene.party(scene.lab.callee) as party:
        yield party


@pytest.mark.parametrize("certificate", ["ECDSA", "RSA"])
@pytest.mark.parametrize("role", ["active", "passive"])
def test_either_dtls_role_and_either_kind_of_certificate(
    scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer, role: str, certificate: str
) -> None:
    peer.make("c", "audio", certificate=certificate)
    offer = ng.offer("rtc", "a", peer.offer("c"), **TO_PHONE, **{"DTLS-reverse": role})
    answer = answered(ng, phone)
    assert f"a=setup:{role}" in answer
    peer.accept("c", answer)
    connected(peer)
    talk(peer, phone, section(offer.sdp).rtp)
    peer.close("c")


def test_ice_lite(scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer) -> None:
    peer.make("c", "audio")
    offer = ng.offer("rtc", "a", peer.offer("c"), **TO_PHONE, **{"ICE-lite": "backward"})
    answer = answered(ng, phone)
    assert "a=ice-lite\r\n" in answer.split("m=")[0]
    peer.accept("c", answer)
    connected(peer)
    talk(peer, phone, section(offer.sdp).rtp)
    peer.close("c")


def only(family: str, sdp: str) -> str:
    """The SDP without candidates of the other family."""

    def other(line: str) -> bool:
        return line.startswith("a=candidate:") and (":" in line.split()[4]) != (family == "IP6")

    return "".join(line for line in sdp.splitlines(keepends=True) if not other(line))


@pytest.mark.parametrize("family", ["IP4", "IP6"])
def test_a_peer_of_one_family_is_answered_with_both(
    scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer, family: str
) -> None:
    peer.make("c", "audio")
    offer = ng.offer("rtc", "a", only(family, peer.offer("c")), **TO_PHONE)
    answer = answered(ng, phone)
    assert only("IP4", answer) != answer != only("IP6", answer)
    peer.accept("c", only(family, answer))
    connected(peer)
    talk(peer, phone, section(offer.sdp).rtp)
    peer.close("c")


@pytest.mark.parametrize("family", ["IP4", "IP6"])
@pytest.mark.parametrize("lite", [None, "forward"])
def test_the_relay_offers_over_either_family(
    scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer, family: str, lite: str | None
) -> None:
    peer.make("c", "audio")
    more: dict[str, Value] = {"ICE-lite": lite} if lite else {}
    offer = ng.offer("rtc", "a", describe(phone.address, [phone.port]), **TO_PEER, **{"address-family": family}, **more)
    assert f"c=IN {family} " in offer.sdp
    facing_phone = section(ng.answer("rtc", "a", "b", peer.answer("c", only(family, offer.sdp))).sdp).rtp
    connected(peer)
    talk(peer, phone, facing_phone)
    peer.close("c")


def test_force_relay_shows_relayed_candidates(scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer) -> None:
    peer.make("c", "audio")
    offer = ng.offer("rtc", "a", peer.offer("c"), **TO_PHONE)
    answer = answered(ng, phone, ICE="force-relay")
    assert set(re.findall(r"^a=candidate:.* typ (\w+)", answer, re.MULTILINE)) == {"relay"}
    peer.accept("c", answer)
    connected(peer)
    talk(peer, phone, section(offer.sdp).rtp)
    peer.close("c")


def test_another_device_of_the_same_party_restarts_ice_and_dtls(
    scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer
) -> None:
    """aiortc cannot restart a connection: its next one takes the place of the first (RFC 8445 section 9, RFC 8842
    section 5), with credentials, candidates and a certificate of its own.
    """
    peer.make("c", "audio")
    target = call_phone(ng, peer, phone)
    talk(peer, phone, target)
    peer.close("c")
    peer.make("c", "audio")
    again = ng.offer("rtc", "a", peer.offer("c"), **TO_PHONE, **{"to-tag": "b"})
    assert section(again.sdp).rtp == target
    peer.accept("c", answered(ng, phone))
    connected(peer)
    phone.forget()
    talk(peer, phone, target)
    peer.close("c")


@pytest.mark.parametrize(("certificate", "seed"), [("ECDSA", 1), ("RSA", 2)])
def test_loss_and_reordering_only_cost_time(
    scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer, seed: int, certificate: str
) -> None:
    """One in five datagrams of STUN and DTLS is lost, one in five comes late."""
    peer.make("c", "audio", certificate=certificate)
    seeds = iter((seed, seed + 100))
    with Shim(scene.lab.caller, lambda: lossy(next(seeds), 0.2, 0.2)) as shim:
        offer = ng.offer("rtc", "a", shim.from_peer(peer.offer("c")), **TO_PHONE)
        peer.accept("c", shim.from_relay(answered(ng, phone)))
        connected(peer, 60)
        talk(peer, phone, section(offer.sdp).rtp)
        assert shim.dropped
        peer.close("c")


class Attacker:
    """A stranger in the caller's namespace who knows where the relay listens for the peer, and no password."""

    def __init__(self, scene: Stage, target: tuple[str, int]) -> None:
        self.socket = scene.lab.caller.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((scene.lab.caller.ip4, 0))
        self.socket.setblocking(False)
        self.target = target

    def __call__(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.target)

    @property
    def answers(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536))
            except BlockingIOError:
                return found


def client_hello() -> list[bytes]:
    association = DtlsAssociation(make_context(generate(1_700_000_000.0)), DtlsRole.CLIENT)
    return list(iter(association.poll_transmit, None))


def binding_request(sdp: str, password: str | None, *attributes: tuple[stun.Attribute, bytes]) -> bytes:
    ufrag = re.search(r"a=ice-ufrag:(\S+)", sdp)
    assert ufrag
    username = (stun.Attribute.USERNAME, f"{ufrag[1]}:stranger".encode())
    return stun.build(stun.Class.REQUEST, os.urandom(12), [username, *attributes], password or "wrong-password")


def handshake_record(length: int, size: int) -> bytes:
    """Its header says `length`, it has `size` bytes."""
    return b"\x16\xfe\xfd" + bytes(8) + length.to_bytes(2) + os.urandom(size)


FLOODS: dict[str, Callable[[str], list[bytes]]] = {
    "hello": lambda sdp: client_hello(),
    "stun-without-integrity": lambda sdp: [bytes.fromhex("000100002112a442") + os.urandom(12)],
    "nomination": lambda sdp: [
        binding_request(
            sdp,
            None,
            (stun.Attribute.PRIORITY, b"\x7f\xff\xff\xff"),
            (stun.Attribute.ICE_CONTROLLING, b"\xff" * 8),
            (stun.Attribute.USE_CANDIDATE, b""),
        )
    ],
    "alert": lambda sdp: [
        b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28",
        b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x01\x00",
    ],
    "oversized-record": lambda sdp: [handshake_record(0xFFFF, 1300), handshake_record(20, 60000)],
    "undersized-record": lambda sdp: [b"\x16", b"\x16\xfe\xfd", handshake_record(100, 3), handshake_record(0, 0)],
}


@pytest.mark.parametrize("flood", FLOODS)
def test_what_a_stranger_sends_before_and_after_does_not_harm_the_call(
    scene: Stage, ng: NgClient, phone: Party, peer: AiortcPeer, flood: str
) -> None:
    peer.make("c", "audio")
    offer = ng.offer("rtc", "a", peer.offer("c"), **TO_PHONE, **{"DTLS-reverse": "passive"})
    answer = answered(ng, phone)
    attacker = Attacker(scene, section(answer).rtp)
    for datagram in FLOODS[flood](answer) * 3:
        attacker(datagram)
    peer.accept("c", answer)
    connected(peer)
    for datagram in FLOODS[flood](answer) * 3:
        attacker(datagram)
    talk(peer, phone, section(offer.sdp).rtp)
    assert attacker.answers == []
    peer.close("c")


def test_the_relays_own_certificate_may_be_rsa(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if kind != "userspace":
        pytest.skip("one data plane is enough: keys are made before any packet flows")
    workdir = tmp_path_factory.mktemp("rsa")
    options = ("--dtls-cert-cipher=RSA", "--dtls-rsa-key-size=4096")
    with open_stage(kind, workdir, *options) as scene, AiortcPeer(scene.lab.caller.namespace, workdir / "peer") as peer:
        for role in ("active", "passive"):
            with scene.relay.client() as ng, scene.party(scene.lab.callee) as phone:
                peer.make("c", "audio", certificate="RSA")
                target = call_phone(ng, peer, phone, role=role)
                talk(peer, phone, target)
                peer.close("c")
                ng.delete("rtc")
