"""Whatever arrives at the ng port: silence, an answer with its cookie, or a request. Never an exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtprelay.errors import PeerFault
from rtprelay.signalling import frame, reply
from rtprelay.signalling.command import Command, CommandName, Request
from rtprelay.signalling.flags import TABLE, normalise
from rtprelay.signalling.options import parse_flag, tokens
from rtprelay.signalling.parse import parse_command
from rtprelay.signalling.replay import ReplayCache
from rtprelay.signalling.session import Answer, NgSession, Peer
from rtprelay.wire import bencode, json

PEER = Peer(0, ("192.0.2.1", 5060))
OFFER: dict[str, Any] = {
    "command": "offer",
    "sdp": "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n",
    "call-id": "c",
    "from-tag": "f",
    "received-from": ["IP4", "192.0.2.1"],
    "flags": ["trust-address", "codec-strip-PCMU"],
    "replace": ["origin"],
    "codec": {"transcode": ["PCMA"], "strip": ["all"]},
    "rtpp-flags": "ICE=remove codec=[strip=[EVS]] direction=[a b]",
}
SEEDS = [b"1_1 " + encode(OFFER) for encode in (bencode.encode, json.encode)]

names = st.sampled_from([name for row in TABLE for name in (row.name, *row.aliases)])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["IP4", "192.0.2.1", "::1", "1"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
flag_texts = st.lists(
    names | st.sampled_from(["=", "[", "]", " ", "-", "--", "_", "a", "9", "\u212a", "\u0130", "\xff"]), max_size=12
).map("".join)


def check(ng: NgSession, data: bytes) -> None:
    received = ng.receive(data, PEER, 0.0)
    cookie = data.split(b" ", 1)[0] + b" "
    if isinstance(received, Request):
        answer = ng.reply(received.request_id, reply.ok())
        assert answer is not None
        assert answer[1].startswith(cookie)
    elif isinstance(received, Answer):
        assert received.data.startswith(cookie)
        assert received.fault is None or isinstance(received.fault, PeerFault), received.fault.__cause__
    else:
        assert frame.split(data) is None


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda body: b"1 " + body))
def test_random_bytes(data: bytes) -> None:
    check(NgSession(), data)


@settings(max_examples=500)
@given(st.sampled_from(SEEDS), st.data())
def test_mutated_offers(seed: bytes, data: st.DataObject) -> None:
    message = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(message)))
        end = data.draw(st.integers(start, min(len(message), start + 8)))
        message[start:end] = data.draw(st.binary(max_size=4) | st.sampled_from([b"e", b"d", b"l", b"{", b"[", b"9"]))
    check(NgSession(), bytes(message))


@settings(max_examples=400)
@given(st.sampled_from(CommandName), st.dictionaries(names | st.text(max_size=10), values, max_size=6))
def test_any_value_under_any_key_makes_a_command_or_a_fault_of_the_peers(
    name: CommandName, keys: dict[str, Any]
) -> None:
    needed = {"sdp": "v=0", "call-id": "c", "from-tag": "f", "to-tag": "t"}
    try:
        command = parse_command({**needed, **keys, "command": name.value})
    except PeerFault:
        return
    assert isinstance(command, Command)
    assert json.encode(command)


@settings(max_examples=400)
@given(flag_texts)
def test_any_text_is_a_flag_or_none(text: str) -> None:
    command = parse_command({**OFFER, "flags": [text], "rtpp-flags": text})
    assert (command.call_id, command.from_tag, command.sdp) == (OFFER["call-id"], OFFER["from-tag"], OFFER["sdp"])
    parsed = parse_flag(text)
    assert parsed is None or normalise(text).startswith(
        tuple(normalise(name) for name in (parsed[0].name, *parsed[0].aliases))
    )


@given(
    st.lists(st.text(st.characters(exclude_characters="[]", exclude_categories=["Z", "C"]), min_size=1), max_size=6),
    st.text(" \t", min_size=1),
)
def test_words_are_what_white_space_leaves(words: list[str], space: str) -> None:
    assert tokens(space + space.join(words) + space) == words
    assert tokens(f"[{space.join(words)}]") == [f"[{space.join(words)}]"]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 40), st.integers(0, 300)), max_size=80))
def test_the_cache_keeps_its_bounds_whatever_happens(steps: list[tuple[int, float, int]]) -> None:
    cache = ReplayCache(lifetime=10.0, max_entries=8, max_bytes=3000)
    now = 0.0
    for number, pause, size in steps:
        now += pause
        cookie = b"%d" % number
        cache.begin(PEER, cookie, now)
        if size % 3:
            cache.finish(PEER, cookie, b"x" * size)
        assert len(cache) <= 8
        assert 0 <= cache.bytes_held <= 3000
        assert (cache.bytes_held == 0) == (len(cache) == 0)


@pytest.mark.parametrize(
    "body",
    [
        b"d" + b"1:ad" * 16_000,
        b"l" * 65_000,
        b"d" + b"1:ai1e" * 10_000 + b"e",
        b"d1:a" + b"0:" * 32_000,
        b"{" + b'"a":{' * 10_000,
        b'{"a":[' + b"1," * 30_000 + b"1]}",
        b'{"command":"offer","flags":"' + b"[" * 60_000 + b'"}',
        b'{"command":"offer","flags":"' + b"codec=[" * 8_000 + b'"}',
        b'{"command":"offer","rtpp-flags":"' + b"a-" * 30_000 + b'"}',
        b'{"command":"offer","flags":["' + b"a-" * 500 + b'"]}',
        b'{"command":"offer","TOS":"' + b"9" * 60_000 + b'"}',
        b'{"command":"offer","media-address":"' + b"1." * 30_000 + b'"}',
        b'{"' + b"a" * 60_000 + b'":1,"command":"offer"}',
    ],
    ids=range(13),
)
def test_what_was_made_to_hurt_is_refused_with_its_cookie(body: bytes) -> None:
    check(NgSession(), b"1 " + body)
