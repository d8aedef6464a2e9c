"""DTLS-SRTP without ICE: RTCP on a port and under keys of its own, and associations that signalling begins anew
(RFC 8842 section 5).

peer in the caller namespace == DTLS, SRTP ===> west [ relay ] east == RTP ===> phone in the callee namespace
                             == DTLS, SRTCP ==>                     == RTCP ==>
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rtprelay.security.dtls import DtlsRole
from tests.e2e.harness.dtls_peer import DtlsPeer, report
from tests.e2e.harness.polling import until
from tests.e2e.harness.rtp import Address, Party
from tests.e2e.harness.sdp import describe, section
from tests.e2e.harness.stage import Stage
from tests.e2e.ng import NgClient
from tools.bencode import Value

TO_PHONE: dict[str, Value] = {"transport-protocol": "RTP/AVP", "rtcp-mux": ["demux"], "direction": ["west", "east"]}
TO_PEER: dict[str, Value] = {
    "transport-protocol": "UDP/TLS/RTP/SAVP",
    "SDES": ["off"],
    "rtcp-mux": ["offer"],
    "direction": ["east", "west"],
}
ROLES = pytest.mark.parametrize("role", list(DtlsRole), ids=lambda role: role.value)


@pytest.fixture
def ng(scene: Stage) -> Iterator[NgClient]:
    if not scene.relay.ours:
        pytest.skip("rtpengine's own DTLS is not ours to test")
    with scene.relay.client() as client:
        yield client
        client.delete("dtls")


class Phone:
    """RTP, and RTCP on a port of its own."""

    def __init__(self, scene: Stage) -> None:
        self.rtp, self.rtcp = scene.party(scene.lab.callee), scene.party(scene.lab.callee)

    @property
    def sdp(self) -> str:
        return describe(self.rtp.address, [self.rtp.port], extra=(f"a=rtcp:{self.rtcp.port}",))


@pytest.fixture
def phone(scene: Stage) -> Iterator[Phone]:
    phone = Phone(scene)
    with phone.rtp, phone.rtcp:
        yield phone


def shake_hands(peer: DtlsPeer) -> None:
    until(lambda: peer.connected, "DTLS on both ports")
    peer.forget()


def connect(peer: DtlsPeer, phone: Party, target: Address) -> None:
    """Until each hears the other: that the peer is done does not mean that the relay is."""
    shake_hands(peer)
    phone.forget()

    def heard() -> bool:
        peer.say()
        phone.send(target, spacing=0.01)
        peer.work()
        phone.collect()
        return phone.sent[-1] in peer.heard and peer.said[-1] in (seen.data for seen in phone.received)

    until(heard, "both to hear the other")


def talk(peer: DtlsPeer, phone: Party, target: Address, packets: int = 50) -> None:
    """Both ways; each hears exactly what the other said."""
    peer.forget()
    phone.forget()
    for _ in range(packets):
        peer.say()
        phone.send(target)
    phone.hears(packets)
    assert [seen.data for seen in phone.received] == peer.said
    peer.hears(packets)
    assert peer.heard == phone.sent


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("offerer", ["peer", "phone"])
@ROLES
def test_a_party_without_rtcp_mux_has_dtls_on_both_its_ports(
    scene: Stage, ng: NgClient, phone: Phone, role: DtlsRole, offerer: str, family: int
) -> None:
    site = scene.lab.caller
    with DtlsPeer(site.namespace, site.address(family), role) as peer:
        if offerer == "peer":
            offer = ng.offer("dtls", "a", peer.sdp(), **TO_PHONE, **{"address-family": "IP4"})
            facing_phone = section(offer.sdp)
            facing_peer = ng.answer("dtls", "a", "b", phone.sdp).sdp
        else:
            facing_peer = ng.offer("dtls", "a", phone.sdp, **TO_PEER, **{"address-family": f"IP{family}"}).sdp
            assert "a=rtcp-mux\r\n" in facing_peer
            facing_phone = section(ng.answer("dtls", "a", "b", peer.sdp()).sdp)
        peer.accept(facing_peer)
        shake_hands(peer)
        for _ in range(10):
            peer.say()
        phone.rtp.hears(10)
        # What it said at once was heard, though the relay may have been at the end of the handshake. The kernel may
        # overtake the daemon there.
        assert sorted(seen.data for seen in phone.rtp.received) == peer.said
        connect(peer, phone.rtp, facing_phone.rtp)
        with scene.relay.reading_at_most(0):
            talk(peer, phone.rtp, facing_phone.rtp)
        for number in range(10):
            peer.report(1000 + number)
            phone.rtcp.socket.sendto(report(2000 + number), facing_phone.rtcp)
        phone.rtcp.hears(10)
        assert [seen.data for seen in phone.rtcp.received] == [report(1000 + number) for number in range(10)]
        peer.hears(0, reports=10)
        assert peer.reports == [report(2000 + number) for number in range(10)]


def tls_id(sdp: str) -> str:
    found = re.search(r"^a=tls-id:(\S+)", sdp, re.MULTILINE)
    assert found is not None, sdp
    return found[1]


@ROLES
def test_a_new_tls_id_begins_anew_and_media_go_on_meanwhile(
    scene: Stage, ng: NgClient, phone: Phone, role: DtlsRole
) -> None:
    site = scene.lab.caller
    with DtlsPeer(site.namespace, site.ip4, role) as peer:
        target = section(ng.offer("dtls", "a", peer.sdp(), **TO_PHONE).sdp).rtp
        first = ng.answer("dtls", "a", "b", phone.sdp).sdp
        peer.accept(first)
        connect(peer, phone.rtp, target)
        talk(peer, phone.rtp, target)
        ng.offer("dtls", "a", peer.sdp("the-second-of-this-party"), to_tag="b", **TO_PHONE)
        second = ng.answer("dtls", "a", "b", phone.sdp).sdp
        assert tls_id(second) != tls_id(first)
        talk(peer, phone.rtp, target)
        former = peer.keys
        peer.accept(second)
        connect(peer, phone.rtp, target)
        assert peer.keys != former
        talk(peer, phone.rtp, target)


@ROLES
def test_reset_lets_another_party_take_the_place_of_the_first(
    scene: Stage, ng: NgClient, phone: Phone, role: DtlsRole
) -> None:
    """Behind a B2BUA a call is transferred: to us it is the same party."""
    site = scene.lab.caller
    with (
        DtlsPeer(site.namespace, site.ip4, role) as first,
        DtlsPeer(site.namespace, site.ip4, role) as second,
    ):
        offer = ng.offer("dtls", "a", phone.sdp, **TO_PEER).sdp
        target = section(ng.answer("dtls", "a", "b", first.sdp()).sdp).rtp
        first.accept(offer)
        connect(first, phone.rtp, target)
        talk(first, phone.rtp, target)
        same = ng.offer("dtls", "a", phone.sdp, to_tag="b", **TO_PEER).sdp
        assert tls_id(same) == tls_id(offer)
        anew = ng.offer("dtls", "a", phone.sdp, to_tag="b", **TO_PEER, flags=["reset"]).sdp
        assert tls_id(anew) != tls_id(offer)
        ng.answer("dtls", "a", "b", second.sdp("of-another-party"))
        second.accept(anew)
        connect(second, phone.rtp, target)
        first.forget()
        talk(second, phone.rtp, target)
        first.work()
        assert first.heard == []
