"""Transports and keys: SDES and its words, DTLS, OSRTP, and who is spoken to in which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.interop.script import QUERY, A, B, Conversation, Step, answer, ask, offer, sdp

NEWER = "Newer than 10.5"
OPPORTUNISTIC = "Opportunistic SRTP"
SUITE = "AES_CM_128_HMAC_SHA1_80"
SHORT = "AES_CM_128_HMAC_SHA1_32"
GCM = "AEAD_AES_256_GCM"
_KEY_LENGTH = {SUITE: 40, SHORT: 40, GCM: 59, "AES_256_CM_HMAC_SHA1_80": 62, "AEAD_AES_128_GCM": 38}
DTLS = (
    "a=setup:actpass",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
)
ACTIVE = ("a=setup:active", DTLS[1])
PASSIVE = ("a=setup:passive", DTLS[1])
PLAIN, PLAIN_FEEDBACK, SAVP, SAVPF, TLS = "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"


def crypto(*suites: str, first: int = 1, key: str = "A", more: str = "") -> tuple[str, ...]:
    return tuple(
        f"a=crypto:{tag} {suite} inline:{key * (_KEY_LENGTH[suite] - 1)}A{more}"
        for tag, suite in enumerate(suites, first)
    )


def caller(profile: str = SAVP, *lines: str) -> str:
    return sdp(A, 4000, *lines).replace("RTP/AVP", profile)


def callee(profile: str = SAVP, *lines: str) -> str:
    return sdp(B, 4002, *lines).replace("RTP/AVP", profile)


def _answered(profile: str, tag: int = 1, differs: str = "", suite: str = SUITE, **keys: Any) -> Step:
    lines = crypto(suite, first=tag, key="B") if "SAVP" in profile else ()
    return answer(callee(profile, *lines), differs, **keys)


def _offered(profile: str, differs: str = "", suites: Sequence[str] = (SUITE,), **keys: Any) -> Step:
    return offer(caller(profile, *(crypto(*suites) if "SAVP" in profile else ())), differs, **keys)


_PROFILES = (PLAIN, PLAIN_FEEDBACK, SAVP, SAVPF)
_OFFER_TAG = 7
"""Of AES_CM_128_HMAC_SHA1_80 where the offerer has named none."""

CONVERSATIONS = (
    *(
        Conversation(
            f"{mine} to {yours}",
            [
                _offered(mine, transport_protocol=yours, DTLS="off"),
                _answered(yours, 1 if "SAVP" in mine else _OFFER_TAG),
                QUERY,
            ],
        )
        for mine in _PROFILES
        for yours in _PROFILES
    ),
    *(
        Conversation(f"{mine} to {yours} with all that is offered", [_offered(mine, transport_protocol=yours)])
        for mine in (PLAIN, SAVP)
        for yours in (SAVP, SAVPF)
    ),
    *(
        Conversation(
            f"SDES={' '.join(words)} from {mine}",
            [_offered(mine, differs, transport_protocol=SAVP, SDES=words, DTLS="off")],
        )
        for mine in (PLAIN, SAVP)
        for words, differs in (
            (["pad"], ""),
            (["lifetime"], ""),
            (["static"], ""),
            ([f"no-{SUITE}"], ""),
            ([f"no-{GCM}", f"no-{SHORT}"], ""),
            ([f"only-{SUITE}"], NEWER),
            ([f"only-{SUITE}", f"only-{GCM}"], NEWER),
            ([f"order:{SHORT};{SUITE}"], NEWER),
            ([f"offerer_pref:{SHORT};{SUITE}"], ""),
            (["unencrypted_srtp"], ""),
            (["unencrypted_srtcp"], ""),
            (["unauthenticated_srtp"], ""),
        )
    ),
    Conversation(
        "SDES=nonew",
        [
            _offered(SAVP, NEWER, transport_protocol=SAVP, SDES=["nonew"], DTLS="off"),
            _offered(PLAIN, call="d", transport_protocol=SAVP, SDES=["nonew"], DTLS="off"),
        ],
    ),
    *(
        Conversation(
            f"of two suites, SDES={' '.join(words)}",
            [
                _offered(SAVP, suites=(SHORT, SUITE), transport_protocol=PLAIN, SDES=words),
                answer("", differs),
                ask("query", differs),
            ],
        )
        for words, differs in (
            ([], ""),
            (["lifetime"], ""),
            (["pad"], ""),
            ([f"no-{SHORT}"], ""),
            ([f"only-{SUITE}"], NEWER),
            ([f"offerer_pref:{SUITE};{SHORT}"], NEWER),
        )
    ),
    Conversation(
        "SDES as flags", [offer("", NEWER, flags=["SDES-nonew", "SDES-only-" + SUITE, "DTLS=off", "RTP/SAVP"])]
    ),
    Conversation("SDES off, to DTLS", [offer(transport_protocol=SAVPF, SDES=["off"])]),
    Conversation("SDES and DTLS off", [offer(transport_protocol=SAVP, SDES=["off"], DTLS="off")]),
    Conversation(
        "a key renewed in a reinvite",
        [
            _offered(SAVP, transport_protocol=PLAIN),
            answer(),
            offer(caller(SAVP, *crypto(SUITE, key="C")), to="b", transport_protocol=PLAIN),
            answer(),
        ],
    ),
    Conversation(
        "a key unchanged in a reinvite",
        [
            _offered(PLAIN, transport_protocol=SAVP, DTLS="off"),
            _answered(SAVP, _OFFER_TAG),
            offer("", "Keys offered again", to="b", DTLS="off"),
        ],
    ),
    Conversation(
        "a reinvite of the SRTP side",
        [
            _offered(PLAIN, transport_protocol=SAVP, DTLS="off"),
            _answered(SAVP, _OFFER_TAG),
            offer(callee(SAVP, *crypto(SUITE, key="B")), tag="b", to="a", transport_protocol=PLAIN),
            answer(sdp(), tag="b", to="a"),
        ],
    ),
    Conversation("no SRTP any more", [_offered(SAVP), _answered(SAVP), offer(to="b"), answer()]),
    Conversation(
        "another suite in the answer",
        [
            _offered(SAVP, suites=(SUITE, SHORT), DTLS="off"),
            _answered(SAVP, 2, "A suite for each leg", suite=SHORT),
            ask("query", "A suite for each leg"),
        ],
    ),
    Conversation(
        "a lifetime and an MKI", [offer(caller(SAVP, *crypto(SUITE, more="|2^20|1:4")), "Key identifiers", DTLS="off")]
    ),
    Conversation("crypto lines in plain RTP", [offer(caller(PLAIN, *crypto(SUITE)), DTLS="off"), answer()]),
    Conversation(
        "crypto lines in plain RTP, answered",
        [
            offer(caller(PLAIN, *crypto(SUITE)), DTLS="off"),
            answer(callee(PLAIN, *crypto(SUITE, first=1, key="B"))),
            QUERY,
        ],
    ),
    Conversation(
        "crypto lines in plain RTP, towards SRTP",
        [
            offer(caller(PLAIN, *crypto(SUITE)), DTLS="off", transport_protocol=SAVP),
            answer(callee(SAVP, *crypto(SUITE, first=1, key="B"))),
            QUERY,
        ],
    ),
    Conversation(
        "crypto lines in plain RTP, accepted late",
        [
            offer(caller(PLAIN, *crypto(SUITE)), DTLS="off"),
            answer(callee(PLAIN), OSRTP=["accept"]),
            ask("query", OPPORTUNISTIC),
        ],
    ),
    Conversation("unknown suites", [offer(caller(SAVP, "a=crypto:1 FOO_BAR inline:AAAA"), transport_protocol=PLAIN)]),
    Conversation("the transport of the answer", [_offered(PLAIN, transport_protocol="accept"), answer()]),
    *(
        Conversation(
            f"OSRTP: {' '.join(words)}, {'with' if keyed else 'without'} keys",
            [
                offer(caller(PLAIN, *crypto(SUITE)[:keyed]), offered, OSRTP=words, DTLS="off"),
                answer(callee(PLAIN), answered),
                ask("query", queried),
            ],
        )
        for words, keyed, offered, answered, queried in (
            (["offer"], False, "", "", OPPORTUNISTIC),
            (["offer"], True, "", "", OPPORTUNISTIC),
            (["accept"], False, "", "", ""),
            (["accept"], True, "", "", OPPORTUNISTIC),
            (["offer", "accept"], False, "", "", OPPORTUNISTIC),
            (["offer", "accept"], True, "", "", OPPORTUNISTIC),
        )
    ),
    Conversation(
        "OSRTP accepted by the callee",
        [offer(OSRTP=["offer"], DTLS="off"), answer(callee(PLAIN, *crypto(SUITE, first=_OFFER_TAG, key="B"))), QUERY],
    ),
    # DTLS: presence and roles.
    *(
        Conversation(
            f"DTLS from {mine}, to {yours}",
            [
                offer(caller(mine, *DTLS), transport_protocol=yours, SDES=["off"]),
                answer(callee(yours, *answered)),
                QUERY,
            ],
        )
        for mine in (TLS, SAVPF)
        for yours, answered in ((PLAIN, ()), (TLS, ACTIVE), (SAVPF, PASSIVE))
    ),
    *(
        Conversation(
            f"DTLS offered as {setup}, DTLS={said or 'unsaid'} in the answer",
            [
                offer(caller(TLS, f"a=setup:{setup}", DTLS[1]), transport_protocol=PLAIN),
                answer(DTLS=said),
            ],
        )
        for setup in ("actpass", "active", "passive")
        for said in ("", "passive", "active")
    ),
    Conversation(
        "DTLS reversed", [offer(caller(TLS, *DTLS), transport_protocol=PLAIN, DTLS_reverse="passive"), answer()]
    ),
    Conversation(
        "DTLS offered to SDES",
        [offer(caller(TLS, *DTLS), transport_protocol=SAVP, DTLS="off"), _answered(SAVP, _OFFER_TAG)],
    ),
    Conversation(
        "SDES offered to DTLS",
        [_offered(SAVP, transport_protocol=TLS, SDES=["off"]), answer(callee(TLS, *ACTIVE)), QUERY],
    ),
    Conversation(
        "plain offered to DTLS", [offer(transport_protocol=TLS, SDES=["off"]), answer(callee(TLS, *ACTIVE)), QUERY]
    ),
    *(
        Conversation(f"DTLS by {name}", [offer(transport_protocol=TLS, SDES=["off"], DTLS_fingerprint=name)])
        for name in ("SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512")
    ),
    Conversation("UDP/TLS with nothing said of SDES", [offer("", "SDES within UDP/TLS", transport_protocol=TLS)]),
    Conversation(
        "DTLS and SDES both offered", [offer(caller(SAVP, *DTLS, *crypto(SUITE)), transport_protocol=PLAIN), answer()]
    ),
    Conversation(
        "a fingerprint of the session",
        [
            offer(
                caller(TLS).replace("t=0 0\r\n", "t=0 0\r\n" + "".join(f"{line}\r\n" for line in DTLS)),
                transport_protocol=PLAIN,
            ),
            answer(),
        ],
    ),
    Conversation(
        "a reinvite under DTLS",
        [
            offer(transport_protocol=TLS, SDES=["off"]),
            answer(callee(TLS, *ACTIVE)),
            offer(to="b", SDES=["off"]),
            answer(callee(TLS, *ACTIVE)),
        ],
    ),
    Conversation(
        "what a browser wants",
        [
            offer(
                transport_protocol=TLS,
                ICE="force",
                rtcp_mux=["offer", "require"],
                SDES=["off"],
                flags=["generate-mid", "no-rtcp-attribute", "trickle-ICE"],
            )
        ],
    ),
    Conversation(
        "a browser to a phone",
        [
            offer(
                caller(TLS, *DTLS, "a=rtcp-mux", "a=mid:0", "a=ice-ufrag:abcd", "a=ice-pwd:0123456789abcdefghijklmn"),
                "What a plain phone is told",
                transport_protocol=PLAIN,
                ICE="remove",
                rtcp_mux=["demux"],
            ),
            answer(),
        ],
    ),
)
