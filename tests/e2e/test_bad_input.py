"""Nonsense at the control port and at the media ports, while a call is going on that must not notice.

storm == garbage ==> ng [ relay ] <== garbage == storm
party a == RTP ====> west         east ==== RTP ====> party b
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.harness.rtp import exchange
from tests.e2e.harness.stage import Stage
from tools.bencode import encode

SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def malformed_bodies() -> list[bytes]:
    offer = {"command": "offer", "call-id": "storm", "from-tag": "storm"}
    return [
        b"",
        b"xx",
        b"d",
        b"de",
        b"d7:commande",
        b"d7:command4:pin",
        b"d7:command99999999999999999999:pinge",
        b"d7:commandi-0ee",
        b"l" * 20000,
        b"d1:a" * 10000,
        b"i" + b"9" * 30000 + b"e",
        b"{",
        b"{" * 5000,
        b'{"command":' + b"[" * 10000,
        b'{"command":"offer","sdp":12}',
        b'{"command":"offer","sdp":"\\ud800"}',
        b'{"command":null}',
        b"\xff\xfe" * 500,
        encode({"command": "no such thing"}),
        encode({"command": ["ping"]}),
        encode(offer),
        encode({**offer, "sdp": ""}),
        encode({**offer, "sdp": "v=\nv=0"}),
        encode({**offer, "sdp": "m=audio 1 RTP/AVP 0\r\n" * 2000}),
        encode({**offer, "sdp": SDP.replace("4000", "99999")}),
        encode({**offer, "sdp": SDP.replace("4000", "-1")}),
        encode({**offer, "sdp": SDP.replace("192.0.2.2", "999.0.2.2")}),
        encode({**offer, "sdp": SDP + "a=" + "x" * 40000}),
        encode({"command": "answer", "call-id": "storm", "from-tag": "x", "to-tag": "y", "sdp": SDP}),
        encode({"command": "query", "call-id": "storm" * 5000}),
        encode({"command": "subscribe answer", "call-id": "storm", "to-tag": "x", "sdp": SDP}),
    ]


@contextmanager
def in_background(storm: Callable[[], None]) -> Iterator[None]:
    """Repeats `storm` until the block is done."""
    over = threading.Event()
    failures: list[BaseException] = []

    def blow() -> None:
        try:
            while not over.is_set():
                storm()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=blow, name="storm")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failures, failures


@pytest.mark.parametrize("body", malformed_bodies(), ids=range(len(malformed_bodies())))
def test_a_malformed_request_is_refused_with_its_cookie(scene: Stage, body: bytes) -> None:
    if not scene.relay.ours:
        pytest.skip("what rtpengine does with nonsense is its own affair")
    with scene.relay.client() as ng:
        reply = ng.exchange(b"cookie-1 " + body)
        if body.startswith((b"d", b"{")):
            assert reply.startswith(b"cookie-1 ")
            assert b"error" in reply
        else:
            # Neither bencode nor JSON: nobody knows what an error should look like to this peer.
            assert reply == b"cookie-1 "
        assert ng.alive()
        assert ng.calls() == []


def test_what_carries_no_cookie_is_not_answered(scene: Stage) -> None:
    """An answer to it could only be a reflection."""
    with scene.relay.client() as ng:
        for datagram in (b"", b"ping", b"d7:command4:pinge", b"\x00" * 100, b"x" * 60000):
            ng.throw(datagram)
        # Were any of them answered, that answer would come first.
        assert ng.exchange(b"cookie-2 d7:command4:pinge").startswith(b"cookie-2 ")


def test_a_storm_at_the_control_port_does_not_reach_a_call(scene: Stage) -> None:
    if not scene.relay.ours:
        pytest.skip("what rtpengine does with nonsense is its own affair")
    chance = random.Random(4711)
    bodies = malformed_bodies()
    with scene.relay.client() as ng, scene.relay.client() as stormer:
        call = scene.call_over_ng(ng, "undisturbed")

        def storm() -> None:
            body = bytearray(chance.choice(bodies) or b"x")
            for _ in range(chance.randrange(4)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            stormer.throw(b"%d %s" % (chance.randrange(1 << 30), body))
            # Some thousand a second. A flood that fills the socket's buffer costs the proxy's commands as well: to send
            # them again is the proxy's part.
            time.sleep(0.0003)

        try:
            with in_background(storm):
                for _ in range(10):
                    exchange(call.a, call.a_target, call.b, call.b_target, 20)
                    assert ng.knows("undisturbed")
        finally:
            call.close()
        ng.delete("undisturbed")
        for call_id in ng.calls():
            ng.delete(call_id)


def test_garbage_at_the_media_ports_does_not_reach_a_call(scene: Stage) -> None:
    if not scene.relay.ours:
        pytest.skip("rtpengine 10.5 lets strangers in (advisory ES2025-01)")
    chance = random.Random(4712)
    starts = (b"", b"\x00", b"\x00\x01\x00\x00\x21\x12\xa4\x42", b"\x16\xfe\xfd", b"\x40\x00", b"\x80\x00", b"\x80\xc8")
    with scene.relay.client() as ng:
        call = scene.call_over_ng(ng, "unspoilt")
        call.talk(10)
        family = socket.AF_INET
        stranger = scene.lab.caller.namespace.socket(family, socket.SOCK_DGRAM)
        ports = [call.a_target, call.b_target]
        ports += [(host, port + 1) for host, port in ports]

        def storm() -> None:
            garbage = chance.choice(starts) + chance.randbytes(chance.randrange(1400))
            stranger.sendto(garbage, chance.choice(ports))
            if not scene.relay.in_kernel:
                # A flood fills the socket that the party's own packets come in by; only the kernel can tell them apart.
                time.sleep(0.0005)

        try:
            with stranger, in_background(storm):
                call.forget()
                for _ in range(200):
                    call.a.send(call.a_target, spacing=0)
                    call.b.send(call.b_target, spacing=0.005)
                for listener, speaker in ((call.a, call.b), (call.b, call.a)):
                    listener.hears(len(speaker.sent))
            for listener, speaker in ((call.a, call.b), (call.b, call.a)):
                assert [seen.data for seen in listener.collect()] == speaker.sent
        finally:
            call.close()
        ng.delete("unspoilt")
