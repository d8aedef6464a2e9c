"""Calls between two sipp user agents through Kamailio and the relay, their media accounted packet by packet.

sipp caller                Kamailio (stock rtpengine module)              sipp callee
    | SIP  -------------------->  | ng         SIP  ------------------------>  |
party a == RTP/RTCP ====>  west [ relay ] east   ==== RTP/RTCP ============> party b
"""

from __future__ import annotations

import pytest

from tests.e2e.harness import sdp
from tests.e2e.harness.rtp import Party, assert_heard, exchange
from tests.e2e.harness.stage import Stage

FAMILIES = [(4, 4), (6, 6), (4, 6), (6, 4)]


@pytest.mark.parametrize("offload", [True, False], ids=["checksum-offload", "checksum-filled"])
def test_media_flows_both_ways_and_bye_ends_it(scene: Stage, offload: bool) -> None:
    scene.lab.offload(offload)
    with scene.phones() as phones:
        call = phones.establish("both-ways")
        call.talk(200)
        phones.hang_up("both-ways")


@pytest.mark.parametrize("families", FAMILIES, ids=["4-4", "6-6", "4-6", "6-4"])
def test_each_side_may_speak_either_ip_version(scene: Stage, families: tuple[int, int]) -> None:
    with scene.phones(families=families) as phones:
        call = phones.establish("families")
        for target, family in ((call.a_target, families[0]), (call.b_target, families[1])):
            assert sdp.family(target[0]) == f"IP{family}"
        call.talk()
        phones.hang_up("families")


def test_the_callee_may_hang_up(scene: Stage) -> None:
    with scene.phones() as phones:
        phones.establish("callee-hangs-up").talk(10)
        phones.callee.tell("callee-hangs-up", "bye")
        phones.callee.gets("callee-hangs-up", "200 BYE")
        scene.assert_gone("callee-hangs-up")


def test_early_media_reaches_the_caller_before_the_answer(scene: Stage) -> None:
    with scene.phones() as phones:
        invite = phones.ring("early")[0]
        phones.callee.tell("early", "progress", phones.answer())
        progress = phones.caller.gets("early", "183 INVITE")
        early = phones.media("early", invite, progress)
        early.talk()
        phones.callee.tell("early", "answer", phones.answer())
        call = phones.media("early", invite, phones.caller.gets("early", "200 INVITE"))
        assert call == early
        call.talk()
        phones.hang_up("early")


def test_cancel_removes_the_call(scene: Stage) -> None:
    with scene.phones(scenario="cancelling_caller") as phones:
        phones.ring("cancelled")
        phones.caller.gets("cancelled", "180 INVITE")
        with scene.relay.client() as ng:
            assert ng.knows("cancelled")
        phones.caller.tell("cancelled", "cancel")
        phones.caller.gets("cancelled", "487 INVITE")
        scene.assert_gone("cancelled")


def test_a_rejected_call_is_removed(scene: Stage) -> None:
    with scene.phones(scenario="rejected_caller") as phones:
        phones.ring("busy")
        phones.callee.tell("busy", "reject", phones.answer())
        phones.caller.gets("busy", "486 INVITE")
        scene.assert_gone("busy")


@pytest.mark.parametrize(
    ("how", "direction", "answered"),
    [("sendonly", "sendonly", "recvonly"), ("inactive", "inactive", "inactive"), ("zero", "sendonly", "recvonly")],
    ids=["sendonly", "inactive", "0.0.0.0"],
)
def test_hold_and_resume(scene: Stage, how: str, direction: str, answered: str) -> None:
    """RFC 3264 section 8.4, and the older way of RFC 2543: a connection address of zero."""
    with scene.phones() as phones:
        call = phones.establish("hold")
        call.talk(20)
        held = phones.offer(direction, version=2, address="0.0.0.0" if how == "zero" else None)
        offered, answer = phones.renegotiate("hold", 2, held, phones.answer(direction=answered, version=2))
        assert sdp.section(offered.body).direction == direction
        assert sdp.section(answer.body).direction == answered
        if direction == "sendonly" and how != "zero":
            for party in (call.a, call.b):
                party.forget()
            call.a.send(call.a_target, 20)
            assert_heard(call.b, call.a)
        offered, answer = phones.renegotiate("hold", 3, phones.offer(version=3), phones.answer(version=3))
        assert sdp.section(offered.body).direction == "sendrecv"
        resumed = phones.media("hold", offered, answer)
        assert resumed == call, "the ports of a call do not change with a re-INVITE"
        resumed.talk()
        phones.hang_up("hold")


def test_a_party_may_move_to_another_port(scene: Stage) -> None:
    with scene.phones() as phones:
        call = phones.establish("moves")
        call.talk(20)
        with scene.party(scene.lab.caller) as elsewhere:
            moved = sdp.describe(elsewhere.address, [elsewhere.port], version=2)
            call.a.forget()
            offered, answered = phones.renegotiate("moves", 2, moved, phones.answer())
            exchange(elsewhere, sdp.section(answered.body).rtp, call.b, sdp.section(offered.body).rtp)
            assert not call.a.collect()
        phones.hang_up("moves")


def test_the_callee_may_be_the_one_who_offers(scene: Stage) -> None:
    """An INVITE without SDP: the 200 carries the offer, the ACK the answer (RFC 3264 section 4)."""
    with scene.phones(scenario="late_caller") as phones:
        phones.caller.tell("late", "invite")
        assert not phones.callee.gets("late", "INVITE").body
        phones.callee.tell("late", "answer", phones.answer())
        offered = phones.caller.gets("late", "200 INVITE")
        phones.caller.tell("late", "ack", phones.offer())
        call = phones.media("late", phones.callee.gets("late", "ACK"), offered)
        call.talk()
        phones.hang_up("late")


def test_a_stream_is_added_and_taken_away(scene: Stage) -> None:
    """RFC 3264 sections 8.1 and 8.2: a further m= section, later rejected by port 0; the first goes on meanwhile."""
    with scene.phones() as phones, scene.party(scene.lab.caller) as a2, scene.party(scene.lab.callee) as b2:
        call = phones.establish("grows")

        def both(second: bool, version: int) -> tuple[str, str]:
            ports = [[party.port, other.port * second] for party, other in ((call.a, a2), (call.b, b2))]
            return (
                sdp.describe(call.a.address, ports[0], version=version),
                sdp.describe(call.b.address, ports[1], version=version),
            )

        offered, answered = phones.renegotiate("grows", 2, *both(True, 2))
        to_a, to_b = (sdp.sections(message.body) for message in (answered, offered))
        assert (to_a[0].rtp, to_b[0].rtp) == (call.a_target, call.b_target)
        exchange(a2, to_a[1].rtp, b2, to_b[1].rtp)
        call.talk()
        offered, answered = phones.renegotiate("grows", 3, *both(False, 3))
        assert [section.port for section in sdp.sections(offered.body)] == [call.b_target[1], 0]
        assert [section.port for section in sdp.sections(answered.body)] == [call.a_target[1], 0]
        call.talk()
        for party in (a2, b2):
            party.forget()
        a2.send(to_a[1].rtp, 5)
        call.talk(5)
        assert not b2.collect()
        phones.hang_up("grows")


def test_rtcp_flows_both_ways(scene: Stage) -> None:
    with scene.phones() as phones:
        lab = scene.lab
        invite = phones.ring("rtcp")[0]
        phones.callee.tell("rtcp", "answer", phones.answer())
        answer = phones.caller.gets("rtcp", "200 INVITE")
        call = phones.media("rtcp", invite, answer)
        call.talk(10)
        reports = {}
        with (
            Party(lab.caller.namespace, call.a.address, call.a.port + 1) as a,
            Party(lab.callee.namespace, call.b.address, call.b.port + 1) as b,
        ):
            for name, speaker, target, listener in (
                ("a", a, sdp.section(answer.body).rtcp, b),
                ("b", b, sdp.section(invite.body).rtcp, a),
            ):
                # A receiver report without blocks (RFC 3550 section 6.4.2) and a CNAME (6.5.1).
                cname = b"\x81\xca\x00\x03" + speaker.ssrc.to_bytes(4, "big") + b"\x01\x04test\x00\x00"
                reports[name] = b"\x80\xc9\x00\x01" + speaker.ssrc.to_bytes(4, "big") + cname
                speaker.socket.sendto(reports[name], target)
                listener.hears(1)
                assert listener.received[0].data == reports[name]
        phones.hang_up("rtcp")


@pytest.mark.parametrize("defines", [(), ("WITH_VIA_BRANCH",)], ids=["plain", "via-branch"])
def test_a_forked_call_is_won_by_one_callee(scene: Stage, defines: tuple[str, ...]) -> None:
    """Two phones ring under one name, both with early media; the second one answers."""
    with scene.phones(*defines, callees=2) as phones:
        invites = phones.ring("forked")
        for number, callee in enumerate(phones.callees):
            callee.tell("forked", "progress", phones.answer(number))
            phones.caller.gets("forked", "183 INVITE", number + 1)
        phones.callees[1].tell("forked", "answer", phones.answer(1))
        answer = phones.caller.gets("forked", "200 INVITE")
        phones.callees[1].gets("forked", "ACK")
        call = phones.media("forked", invites[1], answer, which=1)
        # rtpengine, not told of branches, sends to the second callee from another port than the one it offered.
        call.talk(symmetric=scene.relay.ours or bool(defines))
        phones.hang_up("forked")


def test_a_hundred_calls_at_once(scene: Stage) -> None:
    with scene.phones() as phones:
        calls = []
        ids = [f"many-{number}" for number in range(100)]
        parties = []
        try:
            for call_id in ids:
                a, b = scene.party(scene.lab.caller), scene.party(scene.lab.callee)
                parties += [a, b]
                phones.caller.tell(call_id, "invite", sdp.describe(a.address, [a.port]))
                calls.append((call_id, a, b))
            for call_id, _, b in calls:
                phones.callee.gets(call_id, "INVITE")
                phones.callee.tell(call_id, "answer", sdp.describe(b.address, [b.port]))
            targets = []
            for call_id, _, _ in calls:
                invite, answer = phones.callee.gets(call_id, "INVITE"), phones.caller.gets(call_id, "200 INVITE")
                targets.append((sdp.section(answer.body).rtp, sdp.section(invite.body).rtp))
            assert len({port for pair in targets for port in pair}) == 200
            with scene.relay.client() as ng:
                assert sorted(ng.calls()) == sorted(ids)
            for _ in range(20):
                for (_, a, b), (a_target, b_target) in zip(calls, targets, strict=True):
                    a.send(a_target, spacing=0)
                    b.send(b_target, spacing=0.0002)
            for _, a, b in calls:
                assert_heard(a, b)
                assert_heard(b, a)
            for call_id in ids:
                phones.caller.tell(call_id, "bye")
            for call_id in ids:
                phones.caller.gets(call_id, "200 BYE")
        finally:
            for party in parties:
                party.close()
        with scene.relay.client() as ng:
            assert ng.calls() == []
