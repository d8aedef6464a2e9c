"""The console: rtpengine-ctl's words, answered from a relay with one call of two parties on the memory backend."""

from __future__ import annotations

import random

import msgspec
import pytest

from rtprelay.cli.commands import Console
from rtprelay.cli.session import session
from rtprelay.cli.totals import CURRENT, TOTAL, totals
from rtprelay.core.effects import ApplyFlows, ReadFlows, Reply
from rtprelay.core.relay import Relay
from rtprelay.core.settings import MediaInterface, Settings
from rtprelay.kernel.memory import MemoryBackend
from rtprelay.plan.flow import FlowReport
from rtprelay.signalling.command import Body, Command, CommandName, Request
from rtprelay.values import CallId, Tag

SDP = (
    "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


class Bench:
    """A relay whose effects are carried out at once, and its console."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        interface = MediaInterface(name="default", address="192.0.2.1", port_min=30000, port_max=30099)
        settings = Settings(interfaces=(interface,))
        self.relay = Relay(settings, self.backend.capabilities, random.Random(1), 1_700_000_000.0)
        self.console = Console(self.relay, self.carry_out, self.backend)

    def carry_out(self, command: Command) -> Body:
        self.relay.handle_command(Request(1, command), 10.0)
        body: Body = {}
        while (effect := self.relay.next_effect()) is not None:
            match effect:
                case ApplyFlows(ops):
                    self.backend.apply(ops)
                case ReadFlows(locals_):
                    self.relay.handle_report(self.backend.read(locals_), 10.0)
                case Reply(_, reply):
                    body = reply
        return body

    def call(self, call_id: str) -> None:
        offer = Command(name=CommandName.OFFER, call_id=CallId(call_id), from_tag=Tag("a"), sdp=SDP)
        answer = Command(name=CommandName.ANSWER, call_id=CallId(call_id), from_tag=Tag("a"), to_tag=Tag("b"), sdp=SDP)
        assert self.carry_out(offer)["result"] == "ok"
        assert self.carry_out(answer)["result"] == "ok"

    def say(self, line: str) -> str:
        return self.console.execute(line)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.call("one@example")
    return made


def test_the_number_of_sessions(bench: Bench) -> None:
    bench.call("two@example")
    assert "Current sessions own: 2\n" in bench.say("list numsessions")
    assert "Current sessions total: 2\n" in bench.say(" list   numsessions ")
    assert "Current sessions ipv4 only media: 2\n" in bench.say("list numsessions")
    assert "Current sessions ip mixed  media: 0\n" in bench.say("list numsessions")


def test_all_sessions_are_listed_one_a_line(bench: Bench) -> None:
    bench.call("two@example")
    lines = bench.say("list sessions all").splitlines()
    assert ["one@example" in lines[0], "two@example" in lines[1], len(lines)] == [True, True, 2]
    assert "created:  1700000010" in lines[0]
    assert bench.say("list sessions own") == bench.say("list sessions all")
    assert bench.say("list sessions foreign") == "No sessions on this media relay.\n"


def test_one_session_is_shown_and_an_unknown_one_named(bench: Bench) -> None:
    assert "callid: one@example\n" in bench.say("list sessions one@example")
    assert bench.say("list sessions nobody") == "\nCall ID not found (nobody).\n\n"


def test_a_session_shows_parties_streams_and_counters() -> None:
    stream = {
        "local address": "192.0.2.1",
        "local port": 30000,
        "endpoint": {"family": "IPv4", "address": "198.51.100.1", "port": 4000},
        "SSRC": 0x1234,
        "flags": ["RTP", "kernelized"],
        "stats": {"packets": 5, "bytes": 860, "errors": 1},
    }
    rtcp = {**stream, "local port": 30001, "flags": ["RTCP"]}
    media = {"index": 1, "type": "audio", "protocol": "RTP/AVP", "codec": "PCMA", "streams": [stream, rtcp]}
    party = {"created": 1, "via-branch": "z9", "medias": [media], "subscriptions": [{"tag": "b"}]}
    text = session("c", {"created": 1, "last signal": 2, "tags": {"a": party}})
    assert "--- Tag 'a', label '', branch 'z9'" in text
    assert "subscribed to 'b'" in text
    assert "------ Media #1 (audio over RTP/AVP) using PCMA" in text
    rtp_line, rtcp_line = (line for line in text.splitlines() if line.startswith("-------- Port"))
    words = " ".join(rtp_line.split("Port", 1)[1].split())
    assert words == "192.0.2.1:30000 <> 198.51.100.1:4000, SSRC 1234, 5 p, 860 b, 1 e, kernel"
    assert "192.0.2.1:30001" in rtcp_line
    assert "(RTCP)" in rtcp_line


def test_totals_use_the_words_operators_know() -> None:
    statistics = {
        "currentstatistics": {name: number for number, name in enumerate(CURRENT)},
        "totalstatistics": {name: number for number, name in enumerate(TOTAL)},
    }
    lines = totals(statistics).splitlines()
    assert " Owned sessions                                  :0" in lines
    assert " Total relayed packets                           :15" in lines
    assert " Uptime of rtprelay                              :0 seconds" in lines
    assert len([line for line in lines if ":" in line and line.startswith(" ")]) == len(CURRENT) + len(TOTAL)


def test_totals_and_json_count_the_running_call(bench: Bench) -> None:
    assert "Owned sessions                                  :1" in bench.say("list totals")
    assert msgspec.json.decode(bench.say("list jsonstats"))["currentstatistics"]["sessionsown"] == 1


def test_interfaces_show_their_ports_in_use(bench: Bench) -> None:
    text = bench.say("list interfaces")
    assert "Interface 'default' address '192.0.2.1' (IPv4)" in text
    assert "Ports used:     4 /   100 (  4.0%)" in text


def test_flows_are_those_of_the_data_plane(bench: Bench) -> None:
    local = min(bench.backend.adopt())
    bench.backend.feed(FlowReport(local, 7, 700, 1, 2, 0, 0, 10.0, True, in_kernel=True))
    text = bench.say("list flows")
    assert f"local {local} (kernel)" in text
    assert bench.say("list flows one@example").count("local ") == 4
    assert "7 packets" in text
    assert bench.say("list flows nobody") == "\nCall ID not found (nobody).\n\n"


@pytest.mark.parametrize("name", ["timeout", "silenttimeout", "finaltimeout", "offertimeout", "deletedelay"])
def test_a_timeout_is_shown_as_it_was_set(bench: Bench, name: str) -> None:
    assert bench.say(f"set {name} 17") == f"Success setting {name} to 17\n"
    assert bench.say(f"list {name}").endswith("=17\n")


def test_a_limit_on_sessions_holds_from_the_next_offer_on(bench: Bench) -> None:
    assert bench.say("set maxsessions 1") == "Success setting maxsessions to 1\n"
    assert bench.say("list maxsessions").endswith(": 1\n")
    offer = Command(name=CommandName.OFFER, call_id=CallId("more"), from_tag=Tag("a"), sdp=SDP)
    assert bench.carry_out(offer)["result"] == "error"


@pytest.mark.parametrize("line", ["set timeout x", "set timeout -1", "set maxsessions -2", "set timeout 1.5"])
def test_a_value_that_makes_no_sense_changes_nothing(bench: Bench, line: str) -> None:
    before = bench.relay.registry.settings
    assert bench.say(line).startswith("Fail setting")
    assert bench.relay.registry.settings == before


def test_a_call_is_terminated_at_once(bench: Bench) -> None:
    assert "successfully terminated" in bench.say("terminate one@example")
    assert not bench.relay.registry.calls
    assert bench.say("terminate one@example") == "\nCall Id not found (one@example).\n\n"


def test_all_calls_are_terminated(bench: Bench) -> None:
    bench.call("two@example")
    assert bench.say("terminate all").startswith("2 calls")
    assert not bench.relay.registry.calls
    assert bench.say("list sessions all") == "No sessions on this media relay.\n"


@pytest.mark.parametrize("line", ["list", "set", "terminate", "set timeout", "list sessions"])
def test_an_incomplete_line_asks_for_more(bench: Bench, line: str) -> None:
    assert bench.say(line).startswith("More parameters required.\n")


@pytest.mark.parametrize("line", ["foo", "list foo", "set foo 1"])
def test_an_unknown_word_is_named_with_the_known_ones(bench: Bench, line: str) -> None:
    answer = bench.say(line)
    assert answer.startswith("Unknown or incomplete command: foo\n")
    assert "Available sub-commands at this level:\n" in answer


@pytest.mark.parametrize("line", ["", "help"])
def test_help_lists_the_words(bench: Bench, line: str) -> None:
    assert bench.say(line).split()[-4:] == ["list", "set", "terminate", "version"]
