"""Bytes in, requests out; bodies in, bytes out. The examples are those seen on the wire."""

from __future__ import annotations

import pytest

from rtprelay.errors import MalformedMessage, OurFault
from rtprelay.signalling import frame, idioms, reply
from rtprelay.signalling.command import Body, CommandName, IceOption, MediaFlags, Request, SdpReplace
from rtprelay.signalling.replay import ReplayCache
from rtprelay.signalling.session import PATIENCE, Answer, NgSession, Peer
from rtprelay.values import Family
from rtprelay.wire import json
from tests.unit.wire_examples import exchanges, reply_to

PEER = Peer(0, ("192.0.2.1", 5060))
OTHER = Peer(0, ("192.0.2.2", 5060))
PING = b"5323_1 d7:command4:pinge"


# Sent by Kamailio 5.6.3 for rtpengine_offer("trust-address replace-origin ICE=force via-branch=1 direction=priv
# direction=pub rtcp-mux-demux rtcp-mux-offer SDES-off codec-strip-PCMU codec-strip-G729 codec-transcode=PCMA RTP/AVP
# strict-source TOS=184 address-family=IP4 received-from=192.0.2.9 bogus-flag").
KAMAILIO_OFFER = (
    b"0_11057_2 d8:supportsl10:load limite3:sdp95:v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=t\r\nc=IN IP4 198.51.100.1"
    b"\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n3:ICE5:force3:TOSi184e14:address-family3:IP413:received-from9:192.0.2.9"
    b"9:directionl4:priv3:pube5:flagsl13:trust-address13:strict-source10:bogus-flage7:replacel6:origine"
    b"5:codecd5:stripl4:PCMU4:G729e9:transcodel4:PCMAee18:transport-protocol7:RTP/AVP8:rtcp-muxl5:demux5:offere"
    b"4:SDESl3:offe7:call-id8:call-1@x10:via-branch8:z9hG4bK113:received-froml3:IP49:127.0.0.1e8:from-tag3:ft1"
    b"7:command5:offere"
)
# And for rtpengine_delete("delete-delay=0 fatal to-tag").
KAMAILIO_DELETE = (
    b"0_11057_4 d8:supportsl10:load limite12:delete delayi0e12:delete-delay1:05:flagsl5:fatale7:call-id8:call-1@x"
    b"13:received-froml3:IP49:127.0.0.1e8:from-tag3:ft17:command6:deletee"
)


def request(ng: NgSession, data: bytes, peer: Peer = PEER, now: float = 0.0) -> Request:
    received = ng.receive(data, peer, now)
    assert isinstance(received, Request)
    return received


def answered(ng: NgSession, data: bytes, body: Body, peer: Peer = PEER, now: float = 0.0) -> bytes:
    answer = ng.reply(request(ng, data, peer, now).request_id, body)
    assert answer is not None
    assert answer[0] == peer
    return answer[1]


def refused(ng: NgSession, data: bytes) -> bytes:
    answer = ng.receive(data, PEER, 0.0)
    assert isinstance(answer, Answer)
    assert answer.fault is not None
    return answer.data


def test_a_ping_in_either_encoding_byte_for_byte() -> None:
    for sent in (PING, b'5323_2 {"command":"ping"}'):
        assert answered(NgSession(), sent, reply.pong()) == reply_to(sent)


@pytest.mark.parametrize("part", [b'"foo"', b"5323_4 xx", b'"call-id": "zz"'])
def test_what_is_refused_at_once_byte_for_byte(part: bytes) -> None:
    (sent,) = [sent for sent, _ in exchanges() if part in sent]
    assert refused(NgSession(), sent) == reply_to(part)


def test_every_request_of_a_command_we_know_is_understood() -> None:
    known = {name.value for name in CommandName}
    seen = set()
    for sent, received in exchanges():
        if (
            b"error-reason" not in received
            and sent[-1:] == b"}"
            and json.decode(sent.split(b" ", 1)[1])["command"] in known
        ):
            command = request(NgSession(), sent).command
            assert command.unknown_flags == ()
            seen.add(command.name)
    assert seen >= {CommandName.OFFER, CommandName.ANSWER, CommandName.DELETE, CommandName.QUERY, CommandName.PUBLISH}


@pytest.mark.parametrize(
    ("part", "body"),
    [
        (b'"nonexist", "from-tag": "x"}', reply.warning("Call-ID not found or tags didn't match")),
        (b'["fatal"]', reply.error("Call-ID not found or tags didn't match")),
        (b'"query", "call-id": "nonexist"', reply.error("Unknown call-id")),
        (b'"list"', reply.ok(calls=["c1"])),
        (b'"unsubscribe"', reply.ok()),
    ],
)
def test_replies_of_the_core_byte_for_byte(part: bytes, body: Body) -> None:
    (sent,) = [sent for sent, _ in exchanges() if part in sent]
    assert answered(NgSession(), sent, body) == reply_to(part)


def test_the_sdp_of_an_offer_comes_back_byte_for_byte() -> None:
    for sent, received in exchanges():
        body = json.decode(received.split(b" ", 1)[1]) if received[-1:] == b"}" else {}
        if b'"offer", "call-id": "c1"' in sent:
            assert answered(NgSession(), sent, reply.ok(sdp=body["sdp"])) == received
            return
    pytest.fail("no such example")


def test_an_offer_of_a_real_kamailio() -> None:
    command = request(NgSession(), KAMAILIO_OFFER).command
    assert (command.call_id, command.from_tag, command.via_branch) == ("call-1@x", "ft1", "z9hG4bK1")
    assert command.received_from == "127.0.0.1"
    assert command.supports == {"load limit"}
    assert command.unknown_flags == ("bogus-flag",)
    assert command.flags == MediaFlags(
        trust_address=True,
        address_family=Family.IP4,
        direction=("priv", "pub"),
        transport_protocol="RTP/AVP",
        ice=IceOption.FORCE,
        replace=SdpReplace.ORIGIN,
        rtcp_mux=frozenset({"demux", "offer"}),
        strict_source=True,
        tos=184,
        codec_strip=("PCMU", "G729"),
        sdes=("off",),
        extra=frozenset({"codec-transcode=PCMA"}),
    )


def test_a_delete_of_a_real_kamailio() -> None:
    command = request(NgSession(), KAMAILIO_DELETE).command
    assert (command.delete_delay, command.fatal, command.to_tag, command.unknown_flags) == (0, True, "", ())


@pytest.mark.parametrize("data", [b"", b"nocookie", b" d7:command4:pinge"])
def test_silence_where_there_is_no_cookie(data: bytes) -> None:
    assert NgSession().receive(data, PEER, 0.0) is None


def test_a_broken_message_is_told_so_with_its_cookie_in_kind() -> None:
    assert refused(NgSession(), b"1 d7:command400:pinge").startswith(b"1 d6:result5:error12:error-reason")
    assert refused(NgSession(), b'1 {"command":"ping').startswith(
        b'1 {"result":"error","error-reason":"Failed to parse'
    )
    received = NgSession().receive(b"1 d", PEER, 0.0)
    assert isinstance(received, Answer)
    assert isinstance(received.fault, MalformedMessage)


def test_a_retransmission_is_answered_and_not_executed_again() -> None:
    ng = NgSession()
    first = answered(ng, PING, reply.pong())
    assert ng.receive(PING, PEER, 5.0) == Answer(PEER, first)


def test_a_retransmission_of_a_refused_message_gets_its_error_again() -> None:
    ng = NgSession()
    first = refused(ng, b"1 d")
    assert ng.receive(b"1 d", PEER, 1.0) == Answer(PEER, first)


def test_a_retransmission_is_swallowed_while_the_request_is_at_work() -> None:
    ng = NgSession()
    pending = request(ng, PING)
    assert ng.receive(PING, PEER, 1.0) is None
    assert ng.reply(pending.request_id, reply.pong()) == (PEER, b"5323_1 d6:result4:ponge")


def test_another_proxy_with_the_same_cookie_is_served_by_itself() -> None:
    ng = NgSession()
    mine, theirs = request(ng, PING), request(ng, PING, OTHER)
    assert mine.request_id < theirs.request_id
    assert (mine.proxy, theirs.proxy) == ("192.0.2.1", "192.0.2.2")
    assert ng.reply(theirs.request_id, reply.pong()) == (OTHER, b"5323_1 d6:result4:ponge")
    assert ng.reply(mine.request_id, reply.pong()) == (PEER, b"5323_1 d6:result4:ponge")


def test_a_request_is_answered_once() -> None:
    ng = NgSession()
    pending = request(ng, PING)
    assert ng.reply(pending.request_id, reply.pong()) is not None
    assert ng.reply(pending.request_id, reply.pong()) is None
    assert ng.reply(12345, reply.pong()) is None


def test_a_request_nobody_answers_is_given_up() -> None:
    ng = NgSession(ReplayCache(lifetime=PATIENCE / 2))
    pending = request(ng, PING, now=0.0)
    request(ng, PING, now=PATIENCE)
    assert ng.reply(pending.request_id, reply.pong()) is None


def test_a_reply_too_large_for_a_datagram_is_an_error_instead() -> None:
    data = answered(NgSession(), PING, reply.ok(sdp="x" * frame.MAX_DATAGRAM))
    assert data == b"5323_1 d6:result5:error12:error-reason18:Reply is too largee"


@pytest.mark.parametrize("data", [PING, b'1 {"command":"ping"}'])
@pytest.mark.parametrize("value", [object(), "\ud800"])
def test_a_reply_that_cannot_be_written_is_an_error_for_its_own_request_only(data: bytes, value: object) -> None:
    ng = NgSession()
    assert b"Internal error" in answered(ng, data, {"value": value, "result": "ok"})
    assert answered(ng, PING, reply.pong(), OTHER) == b"5323_1 d6:result4:ponge"


def test_a_bug_of_ours_is_an_error_reply_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(idioms, "complete", broken)
    received = NgSession().receive(PING, PEER, 0.0)
    assert isinstance(received, Answer)
    assert received.data == b"5323_1 d6:result5:error12:error-reason14:Internal errore"
    assert isinstance(received.fault, OurFault)
    assert isinstance(received.fault.__cause__, KeyError)
