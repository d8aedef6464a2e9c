"""Every row of the table is understood in all its spellings; what proxies really send means what it should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rtprelay.signalling.command import Command, EndpointLearning, IceOption, MediaFlags, SdpReplace
from rtprelay.signalling.flags import PROTOCOLS, TABLE, Flag, Kind, normalise
from rtprelay.signalling.options import MAX_FLAG, MAX_UNKNOWN
from rtprelay.signalling.parse import parse_command
from rtprelay.values import Family
from tools.gen_docs import main as generate_docs

OFFER = {"command": "offer", "sdp": "v=0", "call-id": "c", "from-tag": "f"}
FIELDS = frozenset(MediaFlags.__struct_fields__)


def offer(**keys: Any) -> Command:
    """An offer with these keys; an underscore in a keyword is a hyphen."""
    return parse_command({**OFFER, **{name.replace("_", "-"): value for name, value in keys.items()}})


def flags(*texts: str) -> MediaFlags:
    """What these flags mean, all of which must be known."""
    command = offer(flags=list(texts))
    assert command.unknown_flags == ()
    return command.flags


def names(row: Flag) -> Iterator[str]:
    for name in (row.name, *row.aliases):
        yield name
        yield name.upper()
        yield name.lower()
        yield name.replace("-", " ")
        yield name.replace("-", "_")


def sample(row: Flag) -> Any:
    """A value the row understands; a list has one item."""
    match row.kind:
        case Kind.SWITCH:
            return "yes"
        case Kind.NUMBER:
            return 7
        case Kind.ADDRESS:
            return "192.0.2.1"
        case Kind.WORD:
            return [*row.choices][-1]
        case Kind.WORDS:
            return ["PCMU", *row.choices][-1:]
        case Kind.TABLE:
            return {"strip": ["x"]}
        case Kind.DICTIONARY:
            return {"audio": {"add": ["x"], "substitute": [["y", "z"]]}}
        case Kind.FLAGS:
            return ["symmetric"]
        case _:
            return "some"


def as_keys(row: Flag) -> Iterator[dict[str, Any]]:
    for name in names(row):
        yield {name: sample(row)}
    if row.kind is Kind.SWITCH:
        yield from ({row.name: on} for on in (1, True, "on", "true"))
    if row.kind is Kind.NUMBER:
        yield {row.name: "7"}
    if row.kind is Kind.WORDS:
        yield {row.name: sample(row)[0]}
    if row.kind is Kind.ADDRESS:
        yield {row.name: ["IP4", "192.0.2.1"]}


def as_flags(row: Flag) -> Iterator[str]:
    value = sample(row)
    if row.kind is Kind.TABLE:
        yield f"{row.name}=[strip=[x]]"
    elif row.kind is Kind.DICTIONARY:
        yield f"{row.name}=[audio=[add=[x] substitute=[[y z]]]]"
    elif row.kind is not Kind.FLAGS:
        shown = str(value[0] if isinstance(value, list) else value)
        for name in names(row):
            yield f"{name}={shown}"
            if row.kind is Kind.SWITCH:
                yield name
            if row.kind in (Kind.WORD, Kind.WORDS, Kind.ANY):
                yield f"{name}-{shown}"
        if row.kind is Kind.WORDS:
            yield f"{row.name}=[{shown}]"
        if row.kind is Kind.ADDRESS:
            yield f"{row.name}=[IP4 {shown}]"


def outcome(command: Command) -> Any:
    assert command.unknown_flags == ()
    return command


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_is_understood_in_all_its_spellings(row: Flag) -> None:
    base = {key: value for key, value in OFFER.items() if normalise(key) != normalise(row.name)}
    if base != OFFER:  # needed for an offer: let a command without needs carry it
        base = {"command": "list"}
    plain = parse_command(base)
    expected = outcome(parse_command({**base, row.name: sample(row)}))
    assert expected != plain
    for keys in as_keys(row):
        assert outcome(parse_command({**base, **keys})) == expected, keys
    for text in as_flags(row):
        said = plain if row.key_only else expected
        assert outcome(parse_command({**base, "flags": [text]})) == said, text
        if " " not in text.partition("=")[0].partition("[")[0]:
            assert outcome(parse_command({**base, "rtpp-flags": f" symmetric=no {text}  "})) == said, text


@pytest.mark.parametrize("row", [row for row in TABLE if row.target], ids=lambda row: row.name)
def test_a_target_is_a_field(row: Flag) -> None:
    assert row.target in FIELDS | set(Command.__struct_fields__)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.kind is Kind.WORDS and row.choices], ids=lambda row: row.name
)
def test_every_word_of_a_row_is_understood_by_itself_and_with_the_others(row: Flag) -> None:
    words = list(row.choices)
    for word in words:
        assert offer(**{row.name: [word]}).unknown_flags == ()
        assert outcome(offer(flags=[f"{row.name}-{word}"])) == offer(**{row.name: [word]})
    assert outcome(offer(flags=[f"{row.name}=[{' '.join(words)}]"])) == offer(**{row.name: words})


def test_no_two_rows_share_a_name() -> None:
    spelled = [normalise(name) for row in TABLE for name in (row.name, *row.aliases)]
    assert len(spelled) == len(set(spelled))


def test_what_a_stock_kamailio_cfg_says() -> None:
    said = flags("SIP-source-address", "replace-origin", "replace-session-connection")
    assert said == MediaFlags(trust_address=False, replace=SdpReplace.ORIGIN)


def test_what_kamailio_makes_of_it_on_the_wire() -> None:
    command = offer(
        ICE="remove",
        flags=["SIP-source-address"],
        replace=["origin", "session-connection"],
        received_from=["IP4", "192.0.2.7"],
        via_branch="z9hG4bK1",
    )
    assert (command.via_branch, command.received_from) == ("z9hG4bK1", "192.0.2.7")
    assert command.flags == MediaFlags(trust_address=False, replace=SdpReplace.ORIGIN, ice=IceOption.REMOVE)


def test_rtpp_flags_as_documented() -> None:
    command = offer(
        via_branch="z9hG4bK1",
        rtpp_flags="replace-origin via-branch=auto-next strict-source label=callee OSRTP-accept "
        "transport-protocol=RTP/AVP address-family=IP4",
    )
    assert outcome(command).via_branch == "z9hG4bK1"
    assert command.flags == MediaFlags(
        replace=SdpReplace.ORIGIN,
        strict_source=True,
        label="callee",
        transport_protocol="RTP/AVP",
        address_family=Family.IP4,
        osrtp=frozenset({"accept"}),
    )


def test_rtpp_flags_with_lists_in_lists() -> None:
    command = offer(rtpp_flags="OSRTP=[accept] codec=[transcode=[PCMA PCMU] accept=[AMR-WB AMR] strip=[EVS]] symmetric")
    assert outcome(command).flags == MediaFlags(
        codec_accept=("AMR-WB", "AMR"),
        codec_strip=("EVS",),
        symmetric=True,
        osrtp=frozenset({"accept"}),
        extra=frozenset({"codec-transcode=PCMA", "codec-transcode=PCMU"}),
    )


def test_brackets_that_do_not_match_spoil_nothing_else() -> None:
    command = offer(rtpp_flags="symmetric ]] codec=[strip=[PCMU] label=x")
    assert command.flags.symmetric
    assert command.unknown_flags == ("]]", "codec=[strip=[PCMU] label=x")


def test_the_webrtc_bundle_and_the_way_back_to_sip() -> None:
    browser = flags("WebRTC")
    assert browser.transport_protocol == "UDP/TLS/RTP/SAVPF"
    assert browser.ice is IceOption.FORCE
    assert browser.rtcp_mux == {"offer", "require"}
    assert browser.no_rtcp_attribute
    assert browser.generate_mid
    assert (browser.trickle_ice, browser.sdes, browser.extra) == (True, ("off",), frozenset())
    assert flags("ICE=remove", "RTP/AVP", "rtcp-mux-demux") == MediaFlags(
        ice=IceOption.REMOVE, transport_protocol="RTP/AVP", rtcp_mux=frozenset({"demux"})
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_profile_may_stand_by_itself(protocol: str) -> None:
    assert flags(protocol) == MediaFlags(transport_protocol=protocol)


def test_direction_may_be_a_list_or_be_given_twice() -> None:
    assert offer(direction=["priv", "pub"]).flags.direction == ("priv", "pub")
    assert flags("direction=priv", "direction=pub").direction == ("priv", "pub")
    assert flags("direction=[priv pub]").direction == ("priv", "pub")
    assert flags("internal", "external").direction == ("internal", "external")


@pytest.mark.parametrize("said", ["supports=[load limit]", "supports=load-limit", "supports=[load-limit]"])
def test_a_word_of_two_words_is_understood_in_brackets_too(said: str) -> None:
    command = offer(**{"rtpp-flags": f"ICE=remove {said} rtcp-mux=[offer require]"})
    assert command.supports == {"load limit"}
    assert command.unknown_flags == ()
    assert command.flags.rtcp_mux == {"offer", "require"}


def test_codec_options_keep_their_case_slashes_and_equals_signs() -> None:
    assert flags("codec-strip-PCMU", "codec-strip=telephone-event").codec_strip == ("PCMU", "telephone-event")
    assert flags("codec-set-iLBC/8000/1///mode--30").extra == {"codec-set=iLBC/8000/1///mode=30"}
    assert offer(codec={"strip": ["a--b"]}).flags.codec_strip == ("a--b",)


def test_the_longest_name_is_the_one_meant() -> None:
    assert flags("DTLS-reverse-passive").dtls_reverse == "passive"
    assert flags("strip-extmap").extmap_strip == ("all",)
    assert flags("endpoint-learning-off").endpoint_learning is EndpointLearning.OFF


def test_received_from_in_each_form_it_takes() -> None:
    for value in (["IP4", "192.0.2.7"], ["192.0.2.7"], "192.0.2.7", "IP4 192.0.2.7", ["IP6", "::ffff:192.0.2.7"]):
        assert offer(received_from=value).received_from == "192.0.2.7"
    assert offer(received_from=["IP6", "2001:DB8:0::7"]).received_from == "2001:db8::7"


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"TOS": "abc"}, "TOS=abc"),
        ({"TOS": 256}, "TOS=256"),
        ({"TOS": 1.5}, "TOS=1.5"),
        ({"ICE": "banana"}, "ICE=banana"),
        ({"ICE": ["remove"]}, "ICE=['remove']"),
        ({"media-address": "1.2.3"}, "media-address=1.2.3"),
        ({"received-from": ["IP4", "xx"]}, "received-from=['IP4', 'xx']"),
        ({"received-from": []}, "received-from=[]"),
        ({"address-family": "IP9"}, "address-family=IP9"),
        ({"transport-protocol": "FOO/BAR"}, "transport-protocol=FOO/BAR"),
        ({"strict source": "perhaps"}, "strict-source=perhaps"),
        ({"replace": ["bogus"]}, "replace=bogus"),
        ({"codec": {"bogus": ["x"]}}, "codec-bogus"),
        ({"codec": ["x"]}, "codec=['x']"),
        ({"codec": {"strip": [5]}}, "codec-strip=5"),
        ({"label": 5}, "label=5"),
        ({"flags": ["bogus"]}, "bogus"),
        ({"flags": [5]}, "flags=5"),
        ({"flags": {"a": 1}}, "flags={'a': 1}"),
        ({"flags": ["label"]}, "label"),
        ({"flags": ["flags=[symmetric]"]}, "flags=[symmetric]"),
        ({"flags": ["ICE=banana"]}, "ICE=banana"),
        ({"bogus key": 1}, "bogus key"),
    ],
)
def test_what_is_not_understood_is_noted_and_the_call_goes_on(keys: dict[str, Any], complaint: str) -> None:
    command = parse_command({**OFFER, **keys})
    assert command.unknown_flags == (complaint,)
    assert command.flags == MediaFlags()


def test_what_is_in_brackets_may_have_spaces_and_equals_signs() -> None:
    said = offer(rtpp_flags="sdp-attr=[audio=[add=[fmtp:96..useinbandfec--1 x]]]").flags
    assert said.sdp_attr == {"audio": {"add": ["fmtp:96 useinbandfec=1", "x"]}}


def test_changes_of_attributes_may_be_flags_one_by_one() -> None:
    said = flags(
        "sdp-attr-add-audio-fmtp:96..x--1",
        "sdp-attr-add-audio-ptime:20",
        "sdp-attr-remove-video-rtcp-fb",
        "sdp-attr-substitute-none-sendrecv>sendonly",
    )
    assert said.sdp_attr == {
        "audio": {"add": ["fmtp:96 x=1", "ptime:20"]},
        "video": {"remove": ["rtcp-fb"]},
        "none": {"substitute": [["sendrecv", "sendonly"]]},
    }
    assert parse_command({**OFFER, "flags": ["sdp-attr-nonsense"]}).unknown_flags == ("sdp-attr=nonsense",)


def test_a_flag_may_be_a_key_that_is_switched_off() -> None:
    for off in (0, False, "no", "off", None):
        assert outcome(parse_command({**OFFER, "replace-origin": off, "strict source": off})).flags == MediaFlags()
    assert outcome(parse_command({**OFFER, "replace-origin": 1})).flags.replace is SdpReplace.ORIGIN


def test_a_tos_may_say_that_it_stays_and_one_too_large_says_nothing() -> None:
    assert outcome(offer(TOS=-1)).flags.tos == -1
    assert parse_command({**OFFER, "TOS": 256}).flags.tos is None
    assert outcome(offer(TOS=0)).flags.tos == 0
    assert outcome(offer(TOS="184")).flags.tos == 184


def test_delete_takes_its_delay_as_a_key_or_as_a_flag() -> None:
    for keys in ({"delete delay": 0}, {"delete-delay": "0"}, {"flags": ["delete-delay=0"]}):
        assert parse_command({"command": "delete", "call-id": "c", **keys}).delete_delay == 0


def test_a_bare_to_tag_flag_is_the_proxys_business() -> None:
    command = parse_command({"command": "delete", "call-id": "c", "flags": ["to-tag", "fatal"]})
    assert (command.to_tag, command.fatal, command.unknown_flags) == ("", True, ())


def test_identity_in_flags_never_overrides_the_proxys_keys() -> None:
    for order in (("flags", "to-tag"), ("to-tag", "flags")):
        keys = {"flags": ["to-tag=other", "call-id=other", "via-branch=auto"], "to-tag": "t"}
        command = parse_command({**OFFER, **{name: keys[name] for name in order}})
        assert (command.call_id, command.to_tag, command.via_branch) == ("c", "t", "")
    assert offer(flags=["to-tag=other"]).to_tag == "other"


def test_complaints_are_bounded_in_number_and_length() -> None:
    command = offer(flags=[f"bogus{number}-{'x' * 500}" for number in range(100)])
    assert len(command.unknown_flags) == MAX_UNKNOWN
    assert max(map(len, command.unknown_flags)) <= 64
    assert len(offer(flags=["x" * (MAX_FLAG + 1)]).unknown_flags) == 1


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_has_an_effect_or_needs_none_or_says_why_it_has_none(row: Flag) -> None:
    parts = row.kind in (Kind.FLAGS, Kind.TABLE)
    assert [bool(row.target), bool(row.also), row.needless, bool(row.lacking), parts].count(True) == 1


def test_the_page_of_flags_is_up_to_date() -> None:
    assert generate_docs(["--check"]) == 0
