"""Which interface faces whom: by name, by turns, by the way to a peer, by address family.

      198.51.100.1 (a) --- pub:1 203.0.113.1 \
                           pub:2 203.0.113.2  > relay --- 198.51.100.3 (b)
                           prv   192.0.2.1   /
                           prv   192.0.2.2, 2001:db8:ffff::1
"""

from __future__ import annotations

from collections import Counter

import pytest

from rtprelay.core.settings import MediaInterface
from rtprelay.runtime.route import local_address_towards
from rtprelay.signalling.command import CommandName
from rtprelay.values import CallId, Family, Tag
from tests.unit.core_stage import A, B, Section, Stage, sdp

PUB1, PUB2, PRV1, PRV2, PRV6 = "203.0.113.1", "203.0.113.2", "192.0.2.1", "192.0.2.2", "2001:db8:ffff::1"
NAMED = (("pub:1", PUB1), ("pub:2", PUB2), ("prv", PRV1), ("prv", PRV2), ("prv", PRV6))
ICE = ("a=ice-ufrag:abcd", "a=ice-pwd:1234567890123456789012", "a=candidate:1 1 UDP 1 198.51.100.1 4000 typ host")


def interfaces(pairs: int = 100) -> tuple[MediaInterface, ...]:
    high = 30000 + 2 * pairs - 1
    return tuple(MediaInterface(name=name, address=a, port_min=30000, port_max=high) for name, a in NAMED)


@pytest.fixture
def stage() -> Stage:
    return Stage(interfaces=interfaces(), interface_aliases={"public": "pub:2"})


def shown(stage: Stage, call: str, *direction: str, text: str = "") -> list[str]:
    """The addresses shown to the answerer, section by section."""
    found = stage.offered(text or sdp(A), call_id=CallId(call), direction=direction)
    return [section.address for section in found]


def test_interfaces_with_a_common_base_name_take_turns(stage: Stage) -> None:
    used = Counter(shown(stage, f"c{number}", "prv", "pub")[0] for number in range(8))
    assert used == {PUB1: 4, PUB2: 4}


def test_turns_of_one_name_do_not_disturb_those_of_another() -> None:
    """Two names that take turns together, each twice as long as the other's step."""
    both = interfaces() + tuple(MediaInterface(name=f"other:{n}", address=f"192.0.2.{n}") for n in (11, 12))
    stage = Stage(interfaces=both)
    used = Counter(shown(stage, f"c{number}", "pub", "other")[0] for number in range(8))
    assert used == {"192.0.2.11": 4, "192.0.2.12": 4}


def test_without_a_name_those_of_the_first_interface_take_turns(stage: Stage) -> None:
    assert shown(stage, "c") != shown(stage, "d", "prv")
    assert {local.address for local in stage.open} == {PUB1, PUB2, PRV1}


def test_a_party_stays_where_it_is_and_its_sections_are_together(stage: Stage) -> None:
    two = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 96", "m=audio 4004 RTP/AVP 0"))
    first = shown(stage, "c", "prv", "pub", text=two)
    assert len(set(first)) == 1
    stage.answered(two, call_id=CallId("c"))
    assert shown(stage, "c", "prv", "pub", text=two) == first
    assert shown(stage, "c", text=two) == first


def test_an_interface_of_a_group_has_its_own_name_too(stage: Stage) -> None:
    assert [shown(stage, f"c{number}", "prv", "pub:2") for number in range(3)] == [[PUB2]] * 3
    assert shown(stage, "d", "prv", "public") == [PUB2]


def test_one_without_ports_is_passed_over() -> None:
    stage = Stage(interfaces=(*interfaces(pairs=2)[:2], *interfaces()[2:]))
    assert [shown(stage, f"c{number}", "prv", "pub:1") for number in range(2)] == [[PUB1], [PUB1]]
    assert [shown(stage, f"d{number}", "prv", "pub") for number in range(2)] == [[PUB2], [PUB2]]
    body = stage.offer(sdp(A), call_id=CallId("e"), direction=("prv", "pub"))
    assert body["error-reason"] == "Ran out of ports"


def test_without_an_address_of_the_family_it_is_the_other_one_where_there_are_ports() -> None:
    few, many = interfaces(pairs=1)[0], interfaces()[1]
    stage = Stage(interfaces=(few, many))
    assert shown(stage, "first", "pub:2", "pub:1") == [PUB1]
    for call in ("c", "d"):
        assert shown(stage, call, "pub:2", "pub", text=sdp("2001:db8::1")) == [PUB2]
        assert stage.events() == ["Requested address family (IP6) not supported"]


def test_the_other_family_does_not_stand_in_for_one_that_ran_out_of_ports() -> None:
    four, six = interfaces(pairs=1)[0], MediaInterface(name="pub:6", address=PRV6)
    stage = Stage(interfaces=(four, six, MediaInterface(name="prv", address=PRV1)))
    assert shown(stage, "c", "prv", "pub") == [PUB1]
    for call in "de":
        body = stage.offer(sdp(A), call_id=CallId(call), direction=("prv", "pub"))
        assert body["error-reason"] == "Ran out of ports"


def test_an_address_family_there_is_none_of_is_told(stage: Stage) -> None:
    stage.offered(sdp(A), direction=("pub", "pub"), address_family=Family.IP6)
    assert stage.events() == ["Requested address family (IP6) not supported"]
    stage.offered(sdp(A), call_id=CallId("d"), direction=("pub", "prv"), address_family=Family.IP6)
    assert stage.events() == []


def test_a_name_nobody_has_means_the_default_and_is_told(stage: Stage) -> None:
    two = sdp(A, media=("m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 96"))
    stage.offered(two, direction=("x", "y"))
    assert stage.events() == [f"Interface '{name}' not found, using default" for name in "xy"]
    stage.offered(sdp(A), call_id=CallId("d"), direction=("internal", "round-robin-calls"))
    assert stage.events() == []


def test_all_take_turns_where_the_direction_says_so(stage: Stage) -> None:
    found = [shown(stage, f"c{number}", "round-robin-calls", "round-robin-calls")[0] for number in range(3)]
    assert set(found) == {PUB1, PUB2, PRV1}


def test_internal_and_external_are_families_where_no_interface_is_called_so() -> None:
    stage = Stage(interfaces=interfaces()[2:])
    assert shown(stage, "c", "internal", "external") == [PRV6]
    assert shown(stage, "d", "external", "internal") == [PRV1]
    named = Stage(interfaces=(*interfaces(), MediaInterface(name="external", address="203.0.113.3")))
    assert shown(named, "c", "internal", "external") == ["203.0.113.3"]


@pytest.mark.parametrize(("option", "address"), [("inbound_peer", PUB2), ("outbound_peer", PRV1)])
def test_an_interface_is_the_one_by_which_a_peer_is_reached(stage: Stage, option: str, address: str) -> None:
    stage.routes = {"10.0.0.1": PUB2, "10.0.0.2": PRV2}
    stage.restart(interfaces=interfaces())
    peer = "10.0.0.1" if option == "inbound_peer" else "10.0.0.2"
    (to_b,) = stage.offered(sdp(A), direction=(), from_interface=None, **{option: peer})
    (to_a,) = stage.answered(sdp(B, 4002))
    assert {"inbound_peer": to_a, "outbound_peer": to_b}[option].address == address


def test_a_name_or_an_unreachable_peer_overrules_the_way_to_a_peer(stage: Stage) -> None:
    stage.routes = {"10.0.0.1": PRV1, "10.0.0.9": "192.0.2.99"}
    stage.restart(interfaces=interfaces())
    assert stage.offered(sdp(A), to_interface="pub:2", outbound_peer="10.0.0.1")[0].address == PUB2
    (none,) = stage.offered(sdp(A), call_id=CallId("d"), outbound_peer="10.0.0.9")
    assert none.address in (PUB1, PUB2)


def test_a_subscriber_is_reached_by_the_interface_of_its_peer(stage: Stage) -> None:
    stage.routes = {"10.0.0.1": PRV1}
    stage.restart(interfaces=interfaces())
    body = stage.ask(CommandName.PUBLISH, sdp(A), from_tag=Tag("p"), interface="pub:1")
    assert body["result"] == "ok"
    body = stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag=Tag("p"), outbound_peer="10.0.0.1")
    assert f"c=IN IP4 {PRV1}" in body["sdp"]


def candidates(section: Section) -> set[str]:
    return {line.split()[4] for line in section.lines if line.startswith("a=candidate:")}


def test_ports_are_saved_where_ice_has_to_do_with_one_address() -> None:
    plenty, saving = Stage(interfaces=interfaces()), Stage(interfaces=interfaces(), save_interface_ports=True)
    for stage, addresses in ((plenty, {PRV1, PRV2, PRV6}), (saving, {PRV1})):
        (section,) = stage.offered(sdp(A, 4000, *ICE), direction=("pub:1", "prv"))
        assert candidates(section) <= addresses
        assert {local.address for local in stage.open} - {PUB1} == addresses


def test_saving_goes_to_the_next_address_of_the_family_when_the_first_has_no_ports() -> None:
    stage = Stage(interfaces=interfaces(pairs=1), save_interface_ports=True)
    assert [shown(stage, call, f"pub:{call}", "prv") for call in "12"] == [[PRV1], [PRV2]]
    stage = Stage(interfaces=interfaces(pairs=1))
    assert shown(stage, "1", "pub:1", "prv") == [PRV1]
    assert stage.offer(sdp(A), call_id=CallId("2"), direction=("pub:2", "prv"))["result"] == "error"


@pytest.mark.parametrize(("peer", "local"), [("127.0.0.9", "127.0.0.1"), ("::1", "::1"), ("no address", None)])
def test_the_way_to_a_peer_is_asked_of_the_kernel(peer: str, local: str | None) -> None:
    assert local_address_towards(peer) == local
