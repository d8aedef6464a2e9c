"""T.38 and other datagrams that are no RTP: passed on from the party's own host, whichever port its NAT gives it.

A 198.51.100.1:4000 (or behind NAT) --UDPTL--> facing_a [relay] --UDPTL--> B 198.51.100.3:4002
"""

from __future__ import annotations

from typing import Any

import pytest

from rtprelay.signalling.command import CommandName, EndpointLearning
from rtprelay.values import Endpoint, Tag
from tests.unit.core_stage import WALL, A, B, Stage, at, rtp, sdp
from tests.unit.test_core_views import report

FAX = b"\x00\x01\x06\x01\x02\x00"
NAT = at("203.0.113.200:7000")


def t38(port: int) -> tuple[str, ...]:
    return (f"m=image {port} udptl t38", "a=T38FaxVersion:0")


def fax_call(stage: Stage, **fields: Any) -> tuple[Endpoint, Endpoint]:
    return stage.call(sdp(A, media=t38(4000)), sdp(B, media=t38(4002)), **fields)


def test_a_fax_passes_both_ways() -> None:
    stage = Stage()
    facing_a, facing_b = fax_call(stage)
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX) == [(facing_b, FAX, at(f"{B}:4002"))]
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX) == [(facing_a, FAX, at(f"{A}:4000"))]


@pytest.mark.parametrize("data", [rtp(40000), b"\x80\xc9" + bytes(20), b"\x20\x00", b"\x16\xfe\xff" + bytes(20)])
def test_datagrams_that_look_like_something_else_pass_as_well(data: bytes) -> None:
    """A UDPTL sequence number of 0x80c9 is no RTCP."""
    stage = Stage()
    facing_a, facing_b = fax_call(stage)
    assert stage.receive(facing_a, at(f"{A}:4000"), data) == [(facing_b, data, at(f"{B}:4002"))]


def test_audio_turns_into_fax_and_back_on_the_same_ports() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    (to_b,) = stage.offered(sdp(A, media=t38(4000)), to_tag="b")
    (to_a,) = stage.answered(sdp(B, media=t38(4002)))
    assert (to_a.local, to_b.local) == (facing_a, facing_b)
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX)
    stage.offer(sdp(A), to_tag="b")
    stage.answer(sdp(B, 4002))
    assert stage.receive(facing_a, at(f"{A}:4000"), rtp(1))
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX) == []


def test_a_fax_keeps_its_call_alive() -> None:
    stage = Stage(timeout=60)
    facing_a, _ = fax_call(stage)
    for _ in range(5):
        stage.wait(50)
        stage.receive(facing_a, at(f"{A}:4000"), FAX)
    assert stage.relay.registry.calls


def test_a_fax_behind_nat_is_learned_from_the_host_of_the_signalling() -> None:
    stage = Stage()
    facing_a, facing_b = fax_call(stage, received_from=NAT.address)
    assert stage.receive(facing_a, NAT, FAX)
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX) == [(facing_a, FAX, NAT)]


def test_what_was_learned_for_audio_serves_the_fax() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call()
    stage.stream(facing_a, NAT, 8)
    stage.offer(sdp(A, media=t38(4000)), to_tag="b")
    stage.answer(sdp(B, media=t38(4002)))
    assert stage.receive(facing_a, NAT, FAX)
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX) == [(facing_a, FAX, NAT)]


def turned_into_fax_on_another_port(stage: Stage, host: str = A) -> tuple[Endpoint, Endpoint]:
    """The audio of a party behind NAT has been learned."""
    facing_a, _ = stage.call()
    stage.stream(facing_a, NAT, 8)
    (to_b,) = stage.offered(sdp(host, media=t38(4444)), to_tag="b")
    (to_a,) = stage.answered(sdp(B, media=t38(4002)))
    return to_a.local, to_b.local


def test_a_fax_on_another_port_is_learned_from_the_host_the_audio_came_from() -> None:
    stage = Stage()
    facing_a, facing_b = turned_into_fax_on_another_port(stage)
    elsewhere = NAT.with_port(7444)
    stage.restart()
    assert stage.receive(facing_a, elsewhere, FAX) == [(facing_b, FAX, at(f"{B}:4002"))]
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX) == [(facing_a, FAX, elsewhere)]
    assert stage.receive(facing_a, NAT.with_port(7445), FAX) == []


def test_a_second_move_does_not_forget_the_host() -> None:
    stage = Stage()
    turned_into_fax_on_another_port(stage)
    stage.offer(sdp(A, media=t38(4666)), to_tag="b")
    (to_a,) = stage.answered(sdp(B, media=t38(4002)))
    assert stage.receive(to_a.local, NAT.with_port(7666), FAX)


def test_the_host_of_the_audio_is_no_longer_the_partys_when_the_sdp_names_another() -> None:
    stage = Stage()
    facing_a, _ = turned_into_fax_on_another_port(stage, host="198.51.100.9")
    assert stage.receive(facing_a, NAT.with_port(7444), FAX) == []
    assert stage.receive(facing_a, at("203.0.113.66:4444"), FAX) == []


def test_a_stranger_is_never_heard() -> None:
    stage = Stage()
    facing_a, facing_b = fax_call(stage, received_from=NAT.address)
    assert stage.receive(facing_a, at("203.0.113.66:4000"), FAX) == []
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX) == [(facing_a, FAX, at(f"{A}:4000"))]


def test_the_sdp_address_wins_and_stays() -> None:
    stage = Stage()
    facing_a, facing_b = fax_call(stage, received_from=NAT.address)
    stage.receive(facing_a, NAT, FAX)
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX)
    assert stage.receive(facing_a, NAT, FAX) == []
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX) == [(facing_a, FAX, at(f"{A}:4000"))]


def test_with_learning_off_only_the_sdp_address_is_heard() -> None:
    stage = Stage(endpoint_learning=EndpointLearning.OFF)
    facing_a, _ = fax_call(stage, received_from=NAT.address)
    assert stage.receive(facing_a, NAT, FAX) == []
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX)


def test_fax_packets_are_counted() -> None:
    stage = Stage()
    facing_a, _ = fax_call(stage)
    for _ in range(6):
        stage.receive(facing_a, at(f"{A}:4000"), FAX)
    body = stage.ask(CommandName.QUERY)
    counted = {"packets": 6, "bytes": 6 * len(FAX), "errors": 0}
    (of_a,), (of_b,) = (body["tags"][tag]["medias"][0]["streams"] for tag in "ab")
    assert (of_a["stats"], of_b["stats_out"], body["totals"]["RTP"]) == (counted, counted, counted)
    assert of_a["last packet"] == of_a["last user packet"] == int(WALL + stage.now)
    assert of_a["flags"] == ["RTP", "filled", "confirmed", "no kernel support"]
    shown = stage.ask(CommandName.STATISTICS)["statistics"]
    assert shown["totalstatistics"]["relayedpackets_user"] == 6
    assert shown["totalstatistics"]["relayedbytes"] == 6 * len(FAX)
    assert shown["currentstatistics"]["media_userspace"] == 1


def test_the_kernel_forwards_no_fax_even_where_it_has_its_flow() -> None:
    stage = Stage()
    facing_a, _ = fax_call(stage)
    stage.reports[facing_a] = report(facing_a, packets=6, spoken=True, in_kernel=True, last_packet=stage.now)
    (of_a,) = stage.ask(CommandName.QUERY)["tags"]["a"]["medias"][0]["streams"]
    assert of_a["flags"] == ["RTP", "filled", "confirmed", "no kernel support"]
    current = stage.ask(CommandName.STATISTICS)["statistics"]["currentstatistics"]
    assert (current["media_kernel"], current["media_userspace"]) == (0, 1)


def test_a_fax_counts_on_from_the_audio_before_it_and_after_its_port_is_closed() -> None:
    stage = Stage()
    facing_a, _ = stage.call()
    stage.stream(facing_a, at(f"{A}:4000"), 5)
    stage.offer(sdp(A, media=t38(4000)), to_tag="b")
    stage.answer(sdp(B, media=t38(4002)))
    stage.receive(facing_a, at(f"{A}:4000"), FAX)
    assert stage.ask(CommandName.QUERY)["totals"]["RTP"]["packets"] == 6
    stage.offer(sdp(A, media=t38(0)), to_tag="b")
    stage.answer(sdp(B, media=t38(0)))
    assert stage.ask(CommandName.DELETE, delete_delay=0)["totals"]["RTP"]["packets"] == 6


def test_a_fax_reaches_nobody_whom_its_sender_is_kept_from() -> None:
    stage = Stage()
    facing_a, facing_b = fax_call(stage)
    stage.ask(CommandName.BLOCK_MEDIA, from_tag=Tag("a"), directional=True)
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX) == []
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX)
    stage.ask(CommandName.UNBLOCK_MEDIA, from_tag=Tag("a"), directional=True)
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX)


def test_other_udp_media_is_relayed_too() -> None:
    stage = Stage()
    facing_a, facing_b = stage.call(
        sdp(A, media=("m=application 4000 UDP/BFCP *",)), sdp(B, media=("m=application 4002 UDP/BFCP *",))
    )
    data = b"\x20\x01\x00\x00" + bytes(8)
    assert stage.receive(facing_a, at(f"{A}:4000"), data) == [(facing_b, data, at(f"{B}:4002"))]


def test_a_fax_machine_that_has_spoken_is_not_replaced_after_a_restart() -> None:
    stage = Stage()
    facing_a, facing_b = fax_call(stage)
    assert stage.receive(facing_a, at(f"{A}:4000"), FAX)
    stage.restart(installed={})
    assert stage.receive(facing_a, at(f"{A}:4999"), FAX) == []
    assert stage.receive(facing_b, at(f"{B}:4002"), FAX) == [(facing_a, FAX, at(f"{A}:4000"))]
