"""What well-behaved clients say: where mutations begin, and the words they are made with."""

from __future__ import annotations

import json
from itertools import chain

from rtprelay.cli.grammar import LINES
from rtprelay.signalling.command import CommandName
from rtprelay.signalling.flags import TABLE
from rtprelay.wire import bencode
from tests.interop.conversations import CONVERSATIONS

REQUESTS = tuple({json.dumps(s.request): s.request for c in CONVERSATIONS for s in c.steps}.values())
JSON = tuple(json.dumps(request).encode() for request in REQUESTS)
BENCODE = tuple(bencode.encode(request) for request in REQUESTS)
SDP = tuple({request["sdp"].encode(): None for request in REQUESTS if "sdp" in request})
FLAGS = (
    b"trust-address replace-origin ICE=remove codec=[strip=[PCMU G722] offer=[PCMA]] SDES-off",
    b"RTP/SAVPF ICE=force rtcp-mux=[offer require] SDES=[no-AES_CM_128_HMAC_SHA1_80 nonew] direction=[a b] TOS=184",
    b"WebRTC generate-mid sdp-attr=[audio=[add=[ptime:20] remove=[x]]] codec-strip-all codec-except-PCMA",
    *(" ".join(row.name for row in TABLE[start : start + 8]).encode() for start in range(0, len(TABLE), 8)),
)
FLAG_WORDS = (
    *(row.name.encode() for row in TABLE),
    *(choice.encode() for choice in chain.from_iterable(row.choices for row in TABLE)),
    *(b"=[", b"]", b"=", b"[[[[", b" "),
)
FRAMES = tuple(b"5323_%d %s" % (number, body) for number, body in enumerate((*JSON, *BENCODE)))
FRAME_WORDS = (
    *(name.value.encode() for name in CommandName),
    *(b"command", b"call-id", b"from-tag", b"to-tag", b"sdp", b"flags", b"codec", b"from-tags", b"supports", b"limit"),
    *(b"d", b"e", b"l", b"i1e", b"0:", b"4:", b"{", b"}", b"[", b"]", b'"', b'{"a":' * 200, b"l" * 200, b"\\u0000"),
)
SDP_WORDS = (
    *(
        b"m=audio 4000 RTP/AVP 0\r\n",
        b"m=video 0 RTP/SAVPF 96\r\n",
        b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    ),
    *(b"c=IN IP4 0.0.0.0\r\n", b"c=IN IP6 ::1\r\n", b"a=rtcp:9 IN IP4 0.0.0.0\r\n", b"a=rtcp-mux\r\n", b"a=mid:0\r\n"),
    *(b"a=group:BUNDLE 0 1\r\n", b"a=rtpmap:96 opus/48000/2\r\n", b"a=fmtp:96 apt=96\r\n", b"a=crypto:1 "),
    *(
        b"AES_CM_128_HMAC_SHA1_80 inline:",
        b"a=candidate:1 1 UDP 1 192.0.2.1 9 typ host\r\n",
        b"a=ice-ufrag:",
        b"a=setup:",
    ),
    *(b"a=fingerprint:sha-256 ", b"a=ice-pwd:", b"a=sendonly\r\n", b"a=ptime:", b"a=rtcp-fb:* nack\r\n", b"v=0\r\n"),
)
CALLS = tuple(flags + b"\n" + sdp for number, flags in enumerate(FLAGS) for sdp in SDP[number::20])
"""Options of an offer, and its SDP."""
CLI = tuple(f"{line.words} {line.arguments}".strip().encode() for line in LINES)
CLI_WORDS = (b"list", b"set", b"terminate", b"all", b"own", b"call", b"tag", b"totals", b"sessions", b"params", b"json")
HTTP = (
    b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /cli/list+totals HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"OPTIONS /ng HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n",
    b"POST /cli HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nlist totals",
    b'POST /ng-plain HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n{"command":"ping"}',
    b"POST /ng HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-rtpengine-ng\r\nContent-Length: 19\r\n\r\n"
    b"1 d7:command4:pinge",
    b"POST /ng HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: ng.rtpengine.com\r\n\r\n"
    b"\x82\x80\0\0\0\0\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8",
    *(
        b"POST /ng-plain HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for body in (*JSON[::20], *BENCODE[::20])
    ),
)
HTTP_WORDS = (
    *(b"GET ", b"POST ", b"/ng", b"/cli/", b"/metrics", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"Host: \xff\r\n"),
    *(b"Authorization: Bearer x\r\n", b"Upgrade: h2c\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"%2e%2e/", b"%ff"),
)
