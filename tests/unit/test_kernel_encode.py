"""Nothing a flow asks for is passed over: the maps say it, or the flow is one for userspace."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rtprelay.kernel import abi
from rtprelay.kernel.encode import (
    NOWHERE,
    Place,
    flow_entry,
    flow_fits,
    lanes_of,
    output_entry,
    output_fits,
    payload_rules,
)
from rtprelay.kernel.nexthop import NextHop
from rtprelay.plan.flow import Flow, LaneSource, Mismatch, Output, PayloadRule
from rtprelay.security.kdf import MasterKey
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES
from rtprelay.values import Endpoint

US, THEM, OTHER = (Endpoint(f"10.0.0.{n}", 4000) for n in (1, 2, 3))
SUITE = SUITES["AES_CM_128_HMAC_SHA1_80"]
KEY = SrtpParameters(SUITE, MasterKey(bytes(SUITE.key_length), bytes(SUITE.salt_length)))
HOP = NextHop(index=1, mtu=1500)
OUTPUT = Output(US, THEM)
FLOW = Flow(US, THEM, payloads=(PayloadRule(0, 8000),), outputs=(OUTPUT,))
RULE = PayloadRule(0, 8000)
CHANGED: dict[str, Any] = {
    "local": OTHER,
    "expected": OTHER,
    "signalled": OTHER,
    "rtcp_expected": OTHER,
    "on_mismatch": Mismatch.PUNT,
    "lock": False,
    "payloads": (PayloadRule(8, 8000),),
    "lane_sources": (LaneSource(1, 0),),
    "outputs": (Output(US, OTHER),),
    "rtcp_outputs": (OUTPUT,),
    "srtp": KEY,
    "userspace": True,
    "feedback": (OUTPUT,),
    "source": OTHER,
    "destination": OTHER,
    "ssrc": 1,
    "sequence_offset": 1,
    "timestamp_offset": 1,
    "tos": 184,
    "lane": 1,
    "payload_type": 1,
    "clock_rate": 16000,
    "drop": True,
    "silence": 0xD5,
}
"""Something else for every field there is; a new one has to come in here."""


def said_of_output(output: Output) -> object:
    return output_entry(output, HOP, srtp_out=abi.NONE if output.srtp is None else 1), output.lane


def said(flow: Flow) -> object:
    """All that gets into the maps; which source is of which lane has a map of its own."""
    place = Place(0, 1, NOWHERE, NOWHERE, abi.NO_GROUP, abi.NONE if flow.srtp is None else 1)
    outputs = [[said_of_output(output) for output in outputs] for outputs in (flow.outputs, flow.rtcp_outputs)]
    return flow_entry(flow, flow.outputs, place, 1500, True), outputs, flow.lane_sources


@pytest.mark.parametrize("field", Flow.__struct_fields__)
def test_a_flow_that_asks_for_something_else_is_written_in_another_way_or_is_for_userspace(field: str) -> None:
    assert flow_fits(FLOW)
    other = msgspec.structs.replace(FLOW, **{field: CHANGED[field]})
    assert not flow_fits(other) or said(other) != said(FLOW)


@pytest.mark.parametrize("field", Output.__struct_fields__)
def test_so_is_an_output(field: str) -> None:
    assert output_fits(OUTPUT)
    other = msgspec.structs.replace(OUTPUT, **{field: CHANGED[field]})
    assert not output_fits(other) or said_of_output(other) != said_of_output(OUTPUT)


@pytest.mark.parametrize("field", PayloadRule.__struct_fields__)
def test_so_is_a_rule(field: str) -> None:
    rule = msgspec.structs.replace(RULE, **{field: CHANGED[field]})
    flow = msgspec.structs.replace(FLOW, payloads=(rule,), outputs=(Output(US, THEM, lane=rule.lane),))
    (lane,) = lanes_of(flow.payloads, flow.outputs)
    (_, rules) = flow_entry(flow, flow.outputs, Place(0, 1), 1500, True, lane=lane)
    assert not flow_fits(flow) or payload_rules(abi.Rules.from_buffer_copy(rules), lane) == (rule,)


def test_what_is_beyond_the_maps_is_for_userspace() -> None:
    far = Output(US, THEM, lane=int(abi.Limits.MAX_LANES))
    many = tuple(PayloadRule(number, 8000, silence=number) for number in range(abi.Limits.SILENCES))
    assert not output_fits(far)
    for changes in ({"userspace": True}, {"feedback": (OUTPUT,)}, {"rtcp_outputs": (far,)}, {"payloads": many}):
        assert not flow_fits(msgspec.structs.replace(FLOW, **changes))
