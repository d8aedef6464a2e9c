"""`query`, `statistics` and the console in the shapes seen on the wire of rtpengine 26.0, byte for byte."""

from __future__ import annotations

from rtprelay.signalling import console, frame, query, statistics
from rtprelay.signalling.command import Body
from rtprelay.signalling.statistics import Current, InterfaceView, ProxyView, Quality, Samples, Statistics, Totals
from rtprelay.values import Counts, Endpoint
from rtprelay.wire import json
from rtprelay.wire.bencode import plain
from tests.unit.wire_examples import console as seen_console
from tests.unit.wire_examples import reply_to

NOW = 1795153142
FIVE = Counts(5, 860)


def stream(local_port: int, remote: Endpoint, ssrc: int, *, rtcp: bool) -> str:
    return query.stream(
        local=Endpoint("203.0.113.1", local_port),
        endpoint=remote,
        advertised=remote,
        last_packet=NOW,
        last_user_packet=NOW,
        ssrc=ssrc,
        flags=("RTCP", "filled") if rtcp else ("RTP", "filled", "confirmed", "kernelized", "no kernel support"),
        received=Counts() if rtcp else FIVE,
        sent=Counts() if rtcp else FIVE,
    )


SOURCE = query.source(packets=5, octets=860, last_timestamp=640, last_sequence=4)


def party(tag: str, other: str, local_port: int, remote: Endpoint, ssrc: int, *flags: str) -> tuple[str, str]:
    media = query.media(
        index=1,
        kind="audio",
        protocol="RTP/AVP",
        codec="PCMU/8000",
        streams=[
            stream(local_port, remote, ssrc, rtcp=False),
            stream(local_port + 1, remote.with_port(remote.port + 1), ssrc, rtcp=True),
        ],
        flags=("initialized", "send", "recv", *flags),
        ingress=[(ssrc, SOURCE)],
        egress=[(4660 + 4661 - ssrc, SOURCE)],
    )
    with_other = [(other, "offer/answer")]
    return tag, query.tag(tag=tag, created=NOW, subscriptions=with_other, subscribers=with_other, medias=[media])


def call(*tags: tuple[str, str], metadata: str = "") -> Body:
    body: Body = plain(
        query.call(created_us=0, last_signal=0, tags=tags, sources={}, rtp=Counts(), rtcp=Counts(), metadata=metadata)
    )
    return body


def alone(tag: str, stream: str) -> tuple[str, str]:
    """A party that has one stream and nobody to talk to."""
    medias = [query.media(index=1, kind="audio", streams=[stream], flags=())]
    return tag, query.tag(tag=tag, created=NOW, subscriptions=(), subscribers=(), medias=medias)


def test_query_byte_for_byte() -> None:
    body = query.call(
        created_us=NOW * 1_000_000 + 290_783,
        last_signal=NOW,
        tags=(
            party("f", "t", 35674, Endpoint("198.51.100.1", 4000), 4660),
            party("t", "f", 32268, Endpoint("198.51.100.3", 4002), 4661, "ICE controlling"),
        ),
        sources={"4660": SOURCE, "4661": SOURCE},
        rtp=FIVE + FIVE,
        rtcp=Counts(),
    )
    cookie = b"1795153142.392519"
    assert frame.join(cookie, frame.Encoding.JSON, body) == reply_to(cookie)


def test_query_says_only_what_there_is_to_say() -> None:
    full = query.tag(
        tag="t",
        created=NOW,
        subscriptions=(),
        subscribers=(),
        medias=[],
        via_branch="z9",
        label="callee",
        metadata="m",
    )
    body = call(alone("f", query.stream(flags=())), ("t", full), metadata="call")
    assert [*body["tags"]["f"]] == ["tag", "created", "subscriptions", "subscribers", "medias", "VSC"]
    assert [*body["tags"]["f"]["medias"][0]] == ["index", "type", "streams", "flags", "ingress SSRCs", "egress SSRCs"]
    assert not {"local port", "endpoint", "crypto suite", "SSRC"} & {*body["tags"]["f"]["medias"][0]["streams"][0]}
    assert body["tags"]["t"]["via-branch"] == "z9"
    assert (body["tags"]["t"]["label"], body["tags"]["t"]["metadata"], body["metadata"]) == ("callee", "m", "call")


def test_who_has_not_answered_has_a_key_all_the_same() -> None:
    body = call(alone("f", query.stream(flags=())), alone("", query.stream(flags=())))
    assert [*body["tags"]] == ["f", "<untagged 2>"]
    assert body["tags"]["<untagged 2>"]["tag"] == ""


def test_query_shows_ipv6_and_encryption() -> None:
    secret = query.stream(local=Endpoint("2001:db8::1", 30000), crypto_suite="AEAD_AES_256_GCM", flags=("RTP",))
    shown = call(alone("f", secret))["tags"]["f"]["medias"][0]["streams"][0]
    assert (shown["family"], shown["local address"], shown["local port"]) == ("IPv6", "2001:db8::1", 30000)
    assert shown["crypto suite"] == "AEAD_AES_256_GCM"


INTERFACE = InterfaceView(
    name="default",
    address="203.0.113.1",
    port_min=30000,
    port_max=39999,
    ports_used=4,
    received=Counts(10, 1720),
    sent=Counts(10, 1720),
)
TOTALS = Totals(
    uptime=3,
    relayedpackets_user=10,
    relayedbytes_user=1720,
    relayedpackets=10,
    relayedbytes=1720,
)


def test_statistics_byte_for_byte() -> None:
    view = Statistics(
        current=Current(
            sessionsown=1,
            sessionstotal=1,
            packetrate_user=3,
            byterate_user=687,
            packetrate=3,
            byterate=687,
            media_userspace=2,
        ),
        totals=TOTALS,
        proxies=(
            ProxyView(
                proxy="127.0.0.1",
                requests={"ping": 2, "offer": 1, "answer": 1, "query": 1, "list": 1},
                seconds={"ping": 1e-6, "offer": 276e-6, "answer": 85e-6, "query": 63e-6, "list": 11e-6},
                errors=2,
            ),
        ),
        interfaces=(INTERFACE,),
    )
    cookie = b"1795153142.392945"
    seen = reply_to(cookie)
    # Its worker threads are its own affair.
    threads = json.encode(json.decode(seen.split(b" ", 1)[1])["statistics"]["poller_threads"])
    assert frame.join(cookie, frame.Encoding.JSON, statistics.statistics(view)) == seen.replace(threads, b"[]")


def test_samples_have_an_average_and_a_deviation() -> None:
    samples = Samples(total=2.0 + 4.0, squares=4.0 + 16.0, count=2)
    assert (samples.average, samples.deviation) == (3.0, 1.0)
    assert (Samples().average, Samples().deviation) == (0.0, 0.0)
    assert Samples(total=0.3, squares=0.03 - 1e-9, count=3).deviation == 0.0


def test_the_totals_of_the_console_byte_for_byte() -> None:
    view = Statistics(
        current=Current(
            sessionsown=3,
            sessionstotal=3,
            packetrate_user=3,
            byterate_user=687,
            packetrate=3,
            byterate=687,
            media_userspace=2,
        ),
        totals=TOTALS,
        proxies=(
            ProxyView(
                proxy="127.0.0.1",
                requests=dict.fromkeys(statistics.COMMANDS, 1)
                | {"ping": 4, "offer": 2, "delete": 2, "query": 2}
                | dict.fromkeys(("pause recording", "block silence media", "unblock silence media"), 0)
                | dict.fromkeys(("inject start", "inject stop", "connect", "transform", "create answer"), 0),
            ),
        ),
        interfaces=(INTERFACE,),
    )
    assert console.totals(view) == seen_console()


def test_a_measured_quality_shows_in_both() -> None:
    view = Statistics(quality=Quality(mos=Samples(8.6, 37.0, 2), packets_lost=7))
    assert statistics.jsonstats(view)["mos"]["mos_average"] == "4.300000"
    assert statistics.jsonstats(view)["voip_metrics"]["packets_lost"] == 7
    assert " Average MOS                                     :4.300000\n" in console.totals(view)
    assert " Packets lost                                    :7\n" in console.totals(view)


def test_the_number_of_sessions_byte_for_byte() -> None:
    seen = json.decode(reply_to(b"list numsessions").split(b" ", 1)[1])["response"]
    assert console.numsessions(Current(sessionsown=1, sessionstotal=1), ipv4=1, ipv6=0, mixed=0) == seen
