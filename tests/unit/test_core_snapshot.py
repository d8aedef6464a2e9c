"""Records of calls: what is written comes back, whatever bytes a proxy took for text."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rtprelay.core import snapshot
from rtprelay.signalling.command import CommandName
from rtprelay.values import CallId
from tests.unit.core_stage import A, B, Stage, sdp

LATIN_1 = b"J\xf6rg \xff\xfe".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("label", ["left", "Jörg", LATIN_1, "\ud800"])
def test_a_call_comes_back_as_it_was(label: str) -> None:
    stage = Stage()
    video = ("m=video 5000 RTP/SAVPF 96", "a=rtpmap:96 VP8/90000", f"a=fmtp:96 x={label}")
    reply = stage.offer(sdp(A, 4000, *video), label=label, transport_protocol="RTP/SAVPF")
    assert reply["result"] == "ok"
    stage.ask(CommandName.SUBSCRIBE_REQUEST, from_tag="a", to_tag="s")
    (call,) = stage.relay.registry.calls.values()
    assert snapshot.decode(snapshot.encode(call)) == call


def test_a_label_that_is_no_utf_8_survives_a_restart() -> None:
    stage = Stage()
    stage.offer(sdp(A), label=LATIN_1)
    stage.answer(sdp(B, 4002))
    stage.restart()
    assert stage.relay.registry.calls[CallId("c")].parties[1].label == LATIN_1


def test_a_record_cut_short_is_refused() -> None:
    stage = Stage()
    stage.offer(sdp(A), label=LATIN_1)
    (call,) = stage.relay.registry.calls.values()
    record = snapshot.encode(call)
    with pytest.raises(Exception, match="unreadable"):
        snapshot.decode(record[: len(record) // 2])


def test_a_record_tells_of_codecs_only_what_is_not_as_usual_and_one_that_tells_all_is_read_as_well() -> None:
    stage = Stage()
    stage.offer(sdp(A))
    (call,) = stage.relay.registry.calls.values()
    record = snapshot.encode(call)
    assert b"clock_rate" in record
    assert b"channels" not in record

    def in_full(value: Any) -> Any:
        """As releases before wrote it."""
        match value:
            case {"payload_type": _}:
                return {"channels": 1, "fmtp": "", "feedback": [], **value}
            case dict():
                return {key: in_full(item) for key, item in value.items()}
            case list():
                return [in_full(item) for item in value]
            case _:
                return value

    older = msgspec.msgpack.encode(in_full(msgspec.msgpack.decode(record)))
    assert len(older) > len(record)
    assert snapshot.decode(older) == call
