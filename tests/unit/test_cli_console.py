"""The console: rtpengine-ctl's words, answered from a relay with one call of two parties on the memory backend."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from rtprelay.cli.commands import Console
from rtprelay.cli.grammar import LINES, SETTABLE
from rtprelay.cli.parameters import Parameters
from rtprelay.cli.session import session
from rtprelay.config.load import load
from rtprelay.config.schema import Config
from rtprelay.core.effects import ApplyFlows, ReadFlows, Reply
from rtprelay.core.relay import Relay
from rtprelay.core.settings import MediaInterface, Settings
from rtprelay.kernel.memory import MemoryBackend
from rtprelay.observe.log import Verbosity
from rtprelay.plan.flow import FlowReport
from rtprelay.signalling.command import Body, Command, CommandName, MediaFlags, Request
from rtprelay.values import CallId, Tag

SDP = (
    "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


def configuration() -> Config:
    config = load(["--config-file=none", "--interface=127.0.0.1"])
    interface = MediaInterface(name="default", address="192.0.2.1", port_min=30000, port_max=30099)
    return msgspec.structs.replace(config, settings=Settings(interfaces=(interface,)))


class Bench:
    """A relay whose effects are carried out at once, and its console."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.config = configuration()
        self.relay = Relay(self.config.settings, self.backend.capabilities, random.Random(1), 1_700_000_000.0)
        self.verbosity = Verbosity(6)
        parameters = Parameters(self.config, self.verbosity, lambda: self.relay.registry.settings, self.change)
        self.console = Console(self.relay, self.carry_out, self.backend, parameters)

    def change(self, settings: Settings) -> None:
        self.relay.handle_settings(settings, 10.0)

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

    def ask(self, line: str) -> Any:
        return msgspec.json.decode(self.console.execute(f"--json {line}"))


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
    assert bench.say("list sessions foreign") == "No foreign sessions on this media relay.\n"


def test_one_session_is_shown_and_an_unknown_one_named(bench: Bench) -> None:
    assert "callid: one@example\n" in bench.say("list sessions one@example")
    assert bench.say("list sessions nobody") == "\nCall ID not found (nobody).\n\n"


def test_a_session_shows_parties_streams_and_counters() -> None:
    stream = {
        "local address": "192.0.2.1",
        "local port": 30000,
        "endpoint": {"family": "IPv4", "address": "198.51.100.1", "port": 4000},
        "SSRC": 0x1234,
        "last packet": 7,
        "flags": ["RTP", "kernelized"],
        "stats": {"packets": 5, "bytes": 860, "errors": 1},
    }
    rtcp = {**stream, "local port": 30001, "flags": ["RTCP"]}
    media = {"index": 1, "type": "audio", "protocol": "RTP/AVP", "codec": "PCMA", "streams": [stream, rtcp]}
    party = {"created": 1, "via-branch": "z9", "medias": [media], "subscriptions": [{"tag": "b"}]}
    text = session("c", {"created": 1, "last signal": 2, "tags": {"a": party}}, {"deletionmark": True, "tos": 184})
    assert "\ndeletionmark: yes\n" in text
    assert "\ntos: 184\n" in text
    assert "--- Tag 'a', label '', branch 'z9'" in text
    assert "subscribed to 'b'" in text
    assert "------ Media #1 (audio over RTP/AVP) using PCMA" in text
    rtp_line, rtcp_line = (line for line in text.splitlines() if line.startswith("-------- Port"))
    words = " ".join(rtp_line.split("Port", 1)[1].split())
    assert words == "192.0.2.1:30000 <> 198.51.100.1:4000 , SSRC 1234, 5 p, 860 b, 1 e, 7 ts, kernel"
    assert "192.0.2.1:30001" in rtcp_line
    assert "(RTCP)" in rtcp_line


def test_counters_are_what_passes_per_second(bench: Bench) -> None:
    lines = bench.say("list counters").splitlines()
    assert lines[1] == "Current per-second counters:"
    assert lines[3] == " Packets per second (userspace)                  :0"
    assert len(lines) == 12


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
    assert bench.say(f"list {name}").removesuffix("\n").rpartition("=")[2] == "17"
    assert bench.say(f"get {name}") == bench.say(f"list {name}")
    assert bench.ask(f"list {name}") == {name: 17}


def test_a_limit_on_sessions_holds_from_the_next_offer_on(bench: Bench) -> None:
    assert bench.say("set maxsessions 1") == "Success setting maxsessions to 1\n"
    assert bench.say("list maxsessions").endswith(": 1\n")
    offer = Command(name=CommandName.OFFER, call_id=CallId("more"), from_tag=Tag("a"), sdp=SDP)
    assert bench.carry_out(offer)["result"] == "error"


LIMITS = {
    "maxsessions 20": "Maximum sessions configured on rtpengine: 20\n",
    "maxload 2.5": "Maximum load average configured on rtpengine: 2.50\n",
    "maxcpu 80": "Maximum CPU usage configured on rtpengine: 80.0\n",
    "maxbw 1000": "Maximum bandwidth configured on rtpengine: 1000\n",
    "loglevel 7": "core = 7\n",
    "loglevel core 5": "core = 5\n",
}


@pytest.mark.parametrize("line", LIMITS)
def test_a_limit_is_shown_in_rtpengines_words(bench: Bench, line: str) -> None:
    assert bench.say(f"set {line}").startswith(f"Success setting {line.split()[0]} to ")
    assert bench.say(f"list {line.split()[0]}") == LIMITS[line]


def test_no_limit_on_sessions_is_called_so(bench: Bench) -> None:
    assert bench.say("set maxsessions -1") == "Success setting maxsessions to -1; disable feature\n"


def test_parameters_are_compared_with_the_start_and_put_back(bench: Bench) -> None:
    assert bench.say("params diff") == ""
    bench.say("set finaltimeout 10")
    bench.say("set loglevel 3")
    assert bench.say("params diff") == "log-level: 6 => 3\nfinal-timeout: 0 => 10\n"
    assert "\nfinal-timeout = 10\n" in bench.say("params current")
    assert "\nfinal-timeout = 0\n" in bench.say("params start")
    assert "\ninterface[0] = default/192.0.2.1\n" in bench.say("params start")
    assert bench.say("params revert") == ""
    assert bench.say("params diff") == ""
    assert bench.relay.registry.settings == bench.config.settings
    assert bench.verbosity.level == 6


def test_a_shorter_timeout_holds_for_calls_that_are_there(bench: Bench) -> None:
    bench.say("set timeout 5")
    bench.relay.handle_timeout(14.9)
    assert bench.relay.registry.calls
    deadline = bench.relay.poll_timeout()
    assert deadline is not None
    assert deadline <= 15.0


@pytest.mark.parametrize(
    "line", ["timeout x", "timeout -1", "maxsessions -2", "timeout 1.5", "maxload nan", "maxcpu inf", "loglevel high"]
)
def test_a_value_that_makes_no_sense_changes_nothing(bench: Bench, line: str) -> None:
    before = bench.relay.registry.settings
    assert bench.say(f"set {line}").startswith("Fail setting")
    assert bench.relay.registry.settings == before


def test_a_call_is_terminated_at_once(bench: Bench) -> None:
    assert "successfully terminated" in bench.say("terminate one@example")
    assert not bench.relay.registry.calls
    assert bench.say("terminate one@example") == "\nCall Id not found (one@example).\n\n"
    assert " Total forced terminated sessions                :1\n" in bench.say("list totals")
    assert " Total regular terminated sessions               :0\n" in bench.say("list totals")


def test_all_calls_are_terminated(bench: Bench) -> None:
    bench.call("two@example")
    assert bench.say("terminate foreign") == "All foreign calls terminated by operator.\n"
    assert len(bench.relay.registry.calls) == 2
    assert bench.say("terminate all") == "All calls terminated by operator.\n"
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
    assert {"list", "get", "set", "terminate", "version"} < set(bench.say(line).split())


def test_every_line_of_the_grammar_has_an_action_and_every_action_a_line(bench: Bench) -> None:
    assert {line.words for line in LINES} == set(bench.console.actions)
    assert len(LINES) == len({line.words for line in LINES})


def test_whatever_can_be_set_can_be_seen(bench: Bench) -> None:
    assert all(bench.say(f"list {line.words}") and line.help for line in SETTABLE)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("call nobody info", "No such call 'nobody'\n"),
        ("call one@example tag x info", "No such tag 'x'\n"),
        ("call", "More parameters required.\n"),
        ("call one@example tag", "More parameters required.\n"),
        ("call one@example dance", "Unknown or incomplete command: dance\n"),
        ("call one@example tag a dance", "Unknown or incomplete command: dance\n"),
        ("call one@example debug on", "Enabled debugging for call 'one@example'\n"),
        ("call one@example terminate", "\nCall Id (one@example) successfully terminated by operator.\n\n"),
        ("debug", "No call ID specified\n"),
        ("debug nobody on", "Call ID 'nobody' not found\n"),
        ("debug one@example maybe", "Invalid on/off flag ('maybe') specified\n"),
        ("kslist", "\nSubscribed-on keyspaces:\n\n"),
        ("active", "Ok, all calls set to 'owned (active)'\n"),
        ("list transcoders", "No stats entries\n"),
        ("list loglevels", "core - Everything\n"),
    ],
)
def test_the_texts_are_those_of_rtpengine(bench: Bench, line: str, text: str) -> None:
    assert bench.say(line) == text


def test_standby_changes_nothing_and_says_so(bench: Bench) -> None:
    assert bench.say("standby").startswith("Ok, all calls set to 'foreign (standby)'\n")
    assert "no other node" in bench.say("standby")
    assert "Current sessions own: 1\n" in bench.say("list numsessions")


NOT_HERE = [
    "ksadd 3",
    "ksrm 3",
    "media list all",
    "call one@example tag a delay 5",
    "set maxopenfiles 9",
]


@pytest.mark.parametrize("line", [*NOT_HERE, "list redisdisabletime", "set redisallowederrors 1"])
def test_what_has_no_meaning_here_is_answered_clearly(bench: Bench, line: str) -> None:
    assert bench.say(line).startswith("Not supported: ")


def test_a_merged_call_is_found_by_either_name(bench: Bench) -> None:
    bench.call("two@example")
    other = bench.relay.registry.calls[CallId("two@example")]
    for party in other.parties.values():
        party.tag = Tag(f"{party.tag}2")
    one, two = CallId("one@example"), CallId("two@example")
    command = Command(name=CommandName.CONNECT, call_id=one, to_call_id=two, from_tag=Tag("a"), to_tag=Tag("a2"))
    assert bench.carry_out(command) == {"result": "ok"}
    assert "--- Tag 'a2'" in bench.say("list sessions one@example")
    assert bench.say("call two@example info").count("--- Tag") == 4
    bench.say("debug two@example on")
    assert bench.verbosity.traced == {"one@example"}
    assert "successfully terminated" in bench.say("terminate two@example")
    assert "No sessions" in bench.say("list sessions all")


def test_one_party_of_a_call_is_shown(bench: Bench) -> None:
    text = bench.say("call one@example tag b info")
    assert text.startswith("--- Tag 'b'")
    assert "--- Tag 'a'" not in text
    assert text.rstrip("\n") in bench.say("call one@example info")


def test_debugging_is_of_calls_that_are_there(bench: Bench) -> None:
    bench.say("debug one@example")
    assert bench.verbosity.traced == {"one@example"}
    bench.call("two@example")
    bench.say("terminate one@example")
    bench.say("debug two@example on")
    assert bench.verbosity.traced == {"two@example"}
    bench.say("debug two@example off")
    assert not bench.verbosity.traced


def test_keys_are_shown_to_whoever_asks_for_them_where_he_may(bench: Bench) -> None:
    key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    sdp = SDP.replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:7 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n"
    offer = Command(
        name=CommandName.OFFER,
        call_id=CallId("two@example"),
        from_tag=Tag("a"),
        sdp=sdp,
        flags=MediaFlags(transport_protocol="RTP/AVP"),
    )
    bench.carry_out(offer)
    bench.carry_out(msgspec.structs.replace(offer, name=CommandName.ANSWER, to_tag=Tag("b"), sdp=SDP))
    for line in ("list sessions all", "list sessions two@example", "call two@example info", "list flows"):
        for options in ("", "--json "):
            assert key not in bench.console.execute(options + line, keys=True)
    assert key not in bench.console.execute("--keys list sessions two@example")
    shown = bench.console.execute("--keys list sessions two@example", keys=True)
    assert f"--- Key of tag 'a', media #1, receive: 7 AES_CM_128_HMAC_SHA1_80 inline:{key}\n" in shown
    assert shown.count("--- Key of tag 'a', media #1, send: 7 AES_CM_128_HMAC_SHA1_80 inline:") == 1
    as_json = msgspec.json.decode(bench.console.execute("--json --keys list sessions two@example", keys=True))
    assert [(entry["tag"], entry["direction"]) for entry in as_json["keys"]] == [
        ("a", "receive"),
        ("a", "send"),
    ]
    assert "parameters" in bench.console.execute("--keys list sessions", keys=True)
    assert bench.console.execute("--keys version", keys=True) == bench.say("version")


def test_answers_come_as_json_too(bench: Bench) -> None:
    assert bench.ask("list numsessions") == {"own": 1, "foreign": 0, "total": 1, "ipv4": 1, "ipv6": 0, "mixed": 0}
    assert [call["callid"] for call in bench.ask("list sessions all")] == ["one@example"]
    assert set(bench.ask("list sessions one@example")["tags"]) == {"a", "b"}
    assert bench.ask("list totals") == msgspec.json.decode(bench.say("list jsonstats"))
    assert bench.ask("list interfaces")["addresses"][0]["used"] == 4
    assert len(bench.ask("list flows one@example")) == 4
    assert len(bench.ask("list flows limit 3")) == 3
    assert bench.ask("list reasons") == {}
    assert bench.ask("params diff") == {}
    assert bench.ask("list counters")["packetrate"] == 0
    assert bench.ask("terminate nobody") == {"response": "\nCall Id not found (nobody).\n\n"}


@pytest.mark.parametrize("line", [line.words for line in LINES])
def test_every_line_can_be_said_without_and_with_words_that_make_no_sense(bench: Bench, line: str) -> None:
    for words in ("", " nonsense", " nonsense more nonsense", " \udcff"):
        assert isinstance(bench.say(line + words), str)
        bench.ask(line + words)


def test_nothing_from_the_wire_reaches_the_terminal_as_a_control_character(bench: Bench) -> None:
    bench.call("evil\x1b[2J\ncallid: forged\x9b")
    text = bench.say("list sessions all")
    assert len(text.splitlines()) == 2
    assert not {"\x1b", "\x9b"} & set(text + bench.say("list flows"))
