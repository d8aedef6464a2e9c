"""Whatever proxies and packets come in whatever order: one reply each, balanced books (`Stage.check`), nothing left.

commands, SDP, packets, busy ports, time, restarts --> Stage --> after every step all books balance
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from rtprelay.core.muting import COMMANDS as MUTING
from rtprelay.signalling.command import CommandName, EndpointLearning, IceOption, SdpReplace
from rtprelay.values import CallId, Endpoint, Family, Tag
from tests.unit.core_stage import INSIDE, INTERFACES, RELAY, RELAY6, Stage, at, receiver_report, rtp, sdp

FEW_PORTS = tuple(msgspec.structs.replace(interface, port_min=30000, port_max=30031) for interface in INTERFACES)
"""They run out, and the addresses of SDP may well be the relay's own."""
SETTINGS: dict[str, Any] = {"interfaces": FEW_PORTS, "offer_timeout": 200.0, "max_sessions": 10}

USUALLY = 8
"""Times as likely: most of what comes is what proxies send, or nothing would ever be set up."""
ADDRESSES = st.sampled_from(
    ["198.51.100.1", "198.51.100.3", "2001:db8::1"] * USUALLY
    + ["0.0.0.0", "::", "192.168.1.5", RELAY, RELAY] * 2
    + ["127.0.0.1", "224.0.0.1"]
)
PORTS = st.sampled_from([4000, 4002] * USUALLY + [0, 65535, 30000, 30002, 30004])
DIRECTIONS = st.sampled_from(["", "a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv"])
PROTOCOLS = st.sampled_from(
    ["RTP/AVP 0 8"] * USUALLY
    + ["RTP/AVPF 96", "udptl t38", "TCP/MSRP *", "UDP/DTLS/SCTP webrtc-datachannel"]
    + ["RTP/SAVP 0", "UDP/TLS/RTP/SAVPF 0 96"] * 3
)
ATTRIBUTES = st.sampled_from(
    [
        "a=rtcp-mux",
        "a=rtcp:4100",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=mid:1",
        "a=mid:2",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:1234567890123456789012",
        "a=candidate:1 1 UDP 2130706431 198.51.100.1 4000 typ host",
        "a=setup:actpass",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,
    ]
)
OFFERERS = st.sampled_from(["a"] * USUALLY + ["b", "c", "s1", ""]).map(Tag)
ANSWERERS = st.sampled_from(["b", "c", "e"] * USUALLY + ["a", "s1", ""]).map(Tag)
OFFERED = st.sampled_from([""] * USUALLY + ["a", "b", "b", "c"]).map(Tag)
SUBSCRIBERS = st.sampled_from(["s1", "s2"] * USUALLY + ["s3", "b", ""]).map(Tag)
CALLS = st.sampled_from(["c"] * USUALLY + ["d"] * 3).map(CallId)
MADE = st.sampled_from(["m"] * USUALLY + ["c", "d"]).map(CallId)
"""Where parties are created: tags that no other call has, so that it may be merged with one."""
CREATED = st.sampled_from(["n1", "n2"] * USUALLY + ["a", ""]).map(Tag)
MUTED = st.sampled_from(sorted(MUTING, key=lambda name: name.value))
BRANCHES = st.sampled_from(["", "", "x1", "x2"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "rtcp_mux": st.frozensets(st.sampled_from(["offer", "require", "demux", "accept", "reject"]), max_size=2),
        "direction": st.sampled_from([("outside", "inside"), ("inside", "outside"), ("nowhere",)]),
        "address_family": st.sampled_from(list(Family)),
        "media_address": st.sampled_from(["203.0.113.77", "2001:db8:77::1"]),
        "received_from": st.sampled_from(["198.51.100.99", "2001:db8::99"]),
        "trust_address": st.booleans(),
        "replace": st.sampled_from([SdpReplace.ORIGIN, SdpReplace.SDP_VERSION | SdpReplace.USERNAME]),
        "no_port_latching": st.booleans(),
        "media_handover": st.booleans(),
        "asymmetric": st.booleans(),
        "endpoint_learning": st.sampled_from(list(EndpointLearning)),
        "transport_protocol": st.sampled_from(["RTP/AVPF", "RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF", "accept"]),
        "ice": st.sampled_from(list(IceOption)),
        "bundle": st.frozensets(st.sampled_from(["accept", "offer", "require", "reject"]), max_size=1),
        "tos": st.integers(0, 255),
        "label": st.sampled_from(["l1", "l2"]),
        "codec_strip": st.sampled_from([("PCMU",), ("all",)]),
        "generate_mid": st.booleans(),
        "nat_wait": st.booleans(),
        "inbound_peer": st.just("198.51.100.1"),
    },
)

STUN = b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)
CLIENT_HELLO = b"\x16\xfe\xff" + bytes(8) + b"\0\1\1"


@st.composite
def media_section(draw: st.DrawFn) -> list[str]:
    lines = [f"m=audio {draw(PORTS)} {draw(PROTOCOLS)}"]
    if draw(st.booleans()):
        address = draw(ADDRESSES)
        lines.append(f"c=IN IP{6 if ':' in address else 4} {address}")
    lines += draw(st.lists(ATTRIBUTES, max_size=6, unique=True))
    direction = draw(DIRECTIONS)
    return [*lines, direction] if direction else lines


@st.composite
def descriptions(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 19)) == 0:
        return draw(st.sampled_from(["", "v=0", "v=0\r\no=-\r\n", "v=0\r\no=- 1 1 IN IP4 a\r\nm=audio x RTP/AVP\r\n"]))
    sections = draw(st.lists(media_section(), max_size=3))
    bundle = ["a=group:BUNDLE 1 2"] * draw(st.integers(0, 1))
    return sdp(draw(ADDRESSES), media=[*bundle, *(line for section in sections for line in section)])


class Commands(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(**SETTINGS)

    def _ask(self, name: CommandName, text: str = "", **fields: Any) -> None:
        body = self.stage.ask(name, text, **fields)
        assert body["result"] in ("ok", "error")
        assert body.get("error-reason") != "Internal error"

    @rule(call=CALLS, offered=descriptions(), answered=descriptions(), branch=BRANCHES, subscriber=SUBSCRIBERS)
    def a_call_with_a_subscriber(self, call: CallId, offered: str, answered: str, branch: str, subscriber: Tag) -> None:
        self.offer(offered, call, Tag("a"), Tag(""), branch, {})
        self.answer(answered, call, Tag("a"), Tag("b"), branch, {})
        self.subscribe(call, (Tag("a"), Tag("b")), subscriber, {})
        self.subscribe_answer(answered, call, subscriber, {})

    @rule(text=descriptions(), call=CALLS, one=OFFERERS, other=OFFERED, branch=BRANCHES, options=OPTIONS)
    def offer(self, text: str, call: CallId, one: Tag, other: Tag, branch: str, options: dict[str, Any]) -> None:
        self._ask(CommandName.OFFER, text, call_id=call, from_tag=one, to_tag=other, via_branch=branch, **options)

    @rule(text=descriptions(), call=CALLS, one=OFFERERS, other=ANSWERERS, branch=BRANCHES, options=OPTIONS)
    def answer(self, text: str, call: CallId, one: Tag, other: Tag, branch: str, options: dict[str, Any]) -> None:
        self._ask(CommandName.ANSWER, text, call_id=call, from_tag=one, to_tag=other, via_branch=branch, **options)

    @rule(text=descriptions(), call=CALLS, tag=OFFERERS, options=OPTIONS)
    def publish(self, text: str, call: CallId, tag: Tag, options: dict[str, Any]) -> None:
        self._ask(CommandName.PUBLISH, text, call_id=call, from_tag=tag, **options)

    @rule(call=CALLS, tags=st.lists(OFFERERS, max_size=2).map(tuple), tag=SUBSCRIBERS, options=OPTIONS)
    def subscribe(self, call: CallId, tags: tuple[Tag, ...], tag: Tag, options: dict[str, Any]) -> None:
        name = CommandName.SUBSCRIBE_REQUEST
        self._ask(name, call_id=call, from_tags=tags, to_tag=tag, all="" if tags else "all", **options)

    @rule(text=descriptions(), call=CALLS, tag=SUBSCRIBERS, options=OPTIONS)
    def subscribe_answer(self, text: str, call: CallId, tag: Tag, options: dict[str, Any]) -> None:
        self._ask(CommandName.SUBSCRIBE_ANSWER, text, call_id=call, to_tag=tag, **options)

    @rule(call=CALLS, tag=SUBSCRIBERS)
    def unsubscribe(self, call: CallId, tag: Tag) -> None:
        self._ask(CommandName.UNSUBSCRIBE, call_id=call, to_tag=tag)

    @rule(text=descriptions(), call=MADE, tag=CREATED, options=OPTIONS, answered=st.booleans())
    def create(self, text: str, call: CallId, tag: Tag, options: dict[str, Any], answered: bool) -> None:
        self._ask(CommandName.CREATE, call_id=call, from_tag=tag or Tag("n3"), **options)
        if answered:
            self._ask(CommandName.CREATE_ANSWER, text, call_id=call, from_tag=tag, **options)

    @rule(
        call=CALLS,
        other=MADE,
        one=OFFERERS,
        tag=CREATED,
        turned=st.booleans(),
        how=st.sampled_from([{}, {"directional": True}, {"directional": True, "bidirectional": True}]),
    )
    def connect(self, call: CallId, other: CallId, one: Tag, tag: Tag, turned: bool, how: dict[str, Any]) -> None:
        if turned:
            call, other, one, tag = other, call, tag, one
        self._ask(CommandName.CONNECT, call_id=call, to_call_id=other, from_tag=one, to_tag=tag, **how)

    @rule(name=MUTED, call=CALLS, tag=OFFERERS, other=OFFERED, directional=st.booleans())
    def mute(self, name: CommandName, call: CallId, tag: Tag, other: Tag, directional: bool) -> None:
        self._ask(name, call_id=call, from_tag=tag, to_tag=other, directional=directional)

    @rule(call=CALLS, one=OFFERERS, other=ANSWERERS, branch=BRANCHES, delay=st.sampled_from([None, 0, 5]))
    def delete(self, call: CallId, one: Tag, other: Tag, branch: str, delay: int | None) -> None:
        name = CommandName.DELETE
        self._ask(name, call_id=call, from_tag=one, to_tag=other, via_branch=branch, delete_delay=delay)

    @rule(call=CALLS, tag=OFFERERS)
    def look(self, call: CallId, tag: Tag) -> None:
        self._ask(CommandName.QUERY, call_id=call, from_tag=tag)
        self._ask(CommandName.STATISTICS)
        self._ask(CommandName.LIST, limit=1)

    @rule(data=st.data(), first=st.integers(0, 65535))
    def packets(self, data: st.DataObject, first: int) -> None:
        if not self.stage.open:
            return
        local = data.draw(st.sampled_from(sorted(self.stage.open)))
        source = data.draw(st.sampled_from(["198.51.100.1:4000", "198.51.100.99:7777", "[2001:db8::1]:4000"]).map(at))
        packet = data.draw(
            st.sampled_from([rtp(first), receiver_report(), STUN, CLIENT_HELLO, b"\0\1udptl", b"", b"\x80\xc8\0\1"])
        )
        if packet == rtp(first):
            self.stage.stream(local, source, 6, first=first)
        else:
            self.stage.receive(local, source, packet)

    @rule(port=st.sampled_from(range(30000, 30012)), address=st.sampled_from([RELAY, INSIDE, RELAY6]))
    def port_in_use(self, port: int, address: str) -> None:
        endpoint = Endpoint(address, port)
        if endpoint not in self.stage.open:
            self.stage.busy.add(endpoint)

    @rule(seconds=st.sampled_from([0.1, 6.0, 6.0, 6.0, 70.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.stage.wait(seconds)

    @rule()
    def restart(self) -> None:
        before = self.stage.relay.registry
        tables, calls = before.tables, before.calls
        for call in calls.values():
            for party, media in call.medias():
                dtls = party.carrier(media).dtls
                if media.channel and media.live and dtls is not None:
                    dtls.lost = True  # an association lives in memory alone
        self.stage.busy.clear()
        self.stage.restart(**SETTINGS)
        assert self.stage.relay.registry.calls == calls
        assert self.stage.relay.registry.tables == tables
        assert self.stage.ops() == [], "flows that stand as planned were touched"

    @invariant()
    def the_books_balance(self) -> None:
        self.stage.check()
        registry = self.stage.relay.registry
        assert registry.aliases == {alias: call.call_id for call in registry.calls.values() for alias in call.aliases}
        assert not registry.aliases.keys() & registry.calls.keys()

    def teardown(self) -> None:
        for call in (CallId("c"), CallId("d"), CallId("m")):
            self._ask(CommandName.DELETE, call_id=call, delete_delay=0)
        stage = self.stage
        assert (stage.open, stage.journal, stage.flows(), stage.ports_used()) == ({}, {}, {}, 0)


TestCommands = Commands.TestCase
TestCommands.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
def test_many_more_commands() -> None:
    run_state_machine_as_test(
        Commands, settings=settings(TestCommands.settings, max_examples=1000, stateful_step_count=50)
    )
