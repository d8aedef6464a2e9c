"""What else becomes of an SDP: attributes, sections, mids, origins, marks."""

from __future__ import annotations

from tests.interop.script import FAX, VIDEO, A, B, Conversation, answer, offer, sdp

NEWER = "Newer than 10.5"
BOTH = sdp(A, 4000, "a=foo:1", "a=foo:2", *VIDEO, "a=bar")
OTHER_ORIGIN = "someone 42 7"

CONVERSATIONS = (
    *(
        Conversation(f"attributes of {where}: {what}", [offer(BOTH, NEWER, sdp_attr={where: rules})])
        for where, what, rules in (
            ("audio", "added", {"add": ["new:1", "flag"]}),
            ("audio", "removed", {"remove": ["foo:1"]}),
            ("video", "substituted", {"substitute": [["bar", "baz"]]}),
            ("none", "added", {"add": ["new:1"]}),
        )
    ),
    Conversation("sections removed", [offer(BOTH, NEWER, sdp_media_remove=["video"])]),
    *(
        Conversation(
            f"replace {' '.join(words)}",
            [
                offer(sdp(origin=OTHER_ORIGIN), replace=words),
                answer(sdp(B, 4002, origin="other 9 3"), replace=words),
                offer(sdp(A, 4000, "a=sendonly", origin=OTHER_ORIGIN.replace("7", "8")), to="b", replace=words),
            ],
        )
        for words in (
            ["force-increment-sdp-ver"],
            ["session-connection"],
            ["origin", "session-connection"],
            ["sdp-version"],
            ["username"],
            ["session-name"],
            ["origin", "username", "session-name"],
            ["zero-address"],
        )
    ),
    Conversation("replace as flags", [offer("", NEWER, flags=["replace-origin", "replace-session-connection"])]),
    Conversation("mids made up for audio", [offer(flags=["generate-mid"]), answer()]),
    Conversation(
        "mids kept", [offer(sdp(A, 4000, "a=mid:x"), flags=["generate-mid"]), answer(sdp(B, 4002, "a=mid:x"))]
    ),
    Conversation("mids made up in an answer", [offer(), answer(flags=["generate-mid"])]),
    Conversation(
        "original sendrecv", [offer(sdp("0.0.0.0"), flags=["original-sendrecv"]), answer(flags=["original-sendrecv"])]
    ),
    Conversation("original sendrecv with sendonly", [offer(sdp(A, 4000, "a=sendonly"), flags=["original-sendrecv"])]),
    Conversation("no direction named, original", [offer(flags=["original-sendrecv"])]),
    *(
        Conversation(
            f"RTCP attributes: {flag} of the {'answer' if late else 'offer'}",
            [offer(flags=[] if late else [flag]), answer(flags=[flag] if late else [])],
        )
        for flag in ("no-rtcp-attribute", "full-rtcp-attribute")
        for late in (False, True)
    ),
    Conversation("no RTCP attribute with rtcp-mux", [offer(flags=["no-rtcp-attribute"], rtcp_mux=["offer"])]),
    Conversation("a full RTCP attribute over IPv6", [offer(address_family="IP6", flags=["full-rtcp-attribute"])]),
    *(
        Conversation(
            f"the direction {mine}, answered {yours}",
            [offer(sdp(A, 4000, f"a={mine}")), answer(sdp(B, 4002, f"a={yours}"))],
        )
        for mine, yours in (
            ("sendonly", "recvonly"),
            ("recvonly", "sendonly"),
            ("inactive", "inactive"),
            ("sendrecv", "inactive"),
        )
    ),
    Conversation("a direction of the session", [offer(sdp().replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n"))]),
    Conversation(
        "a direction of the session and of the section",
        [offer(sdp(A, 4000, "a=recvonly").replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n"))],
    ),
    Conversation(
        "bandwidths",
        [
            offer(
                sdp(A, 4000, *VIDEO)
                .replace("m=video 5000 RTP/AVP 96\r\n", "m=video 5000 RTP/AVP 96\r\nb=AS:512\r\n")
                .replace("t=0 0", "b=AS:600\r\nt=0 0")
            )
        ],
    ),
    Conversation(
        "addresses of sections",
        [
            offer(
                sdp(A, 4000, *VIDEO).replace(
                    "m=video 5000 RTP/AVP 96\r\n", f"m=video 5000 RTP/AVP 96\r\nc=IN IP4 {B}\r\n"
                )
            )
        ],
    ),
    Conversation(
        "lines the relay does not know",
        [
            offer(
                sdp(A, 4000, "a=x-unknown", "a=silenceSupp:off - - - -", "a=label:1").replace(
                    "s=-", "s=a call\r\ni=about\r\nu=http://x\r\ne=x@example.org\r\np=+1"
                )
            )
        ],
    ),
    Conversation("line feeds alone", [offer(sdp().replace("\r\n", "\n"))]),
    Conversation("an rtcp-rsize and ssrc lines", [offer(sdp(A, 4000, "a=rtcp-rsize", "a=ssrc:1 cname:x"))]),
    Conversation("several ports", [offer(sdp().replace("m=audio 4000", "m=audio 4000/1"))]),
    # --- T.38 ---
    Conversation("fax answered by fax", [offer(sdp(A, 0, *FAX, audio=False)), answer(sdp(B, 0, *FAX, audio=False))]),
    Conversation("fax beside audio", [offer(sdp(A, 4000, *FAX)), answer(sdp(B, 4002, *FAX))]),
    Conversation("fax rejected", [offer(sdp(A, 4000, *FAX)), answer(sdp(B, 4002, "m=image 0 udptl t38"))]),
    Conversation(
        "fax parameters",
        [
            offer(
                sdp(
                    A,
                    0,
                    *FAX,
                    "a=T38MaxBitRate:14400",
                    "a=T38FaxRateManagement:transferredTCF",
                    "a=T38FaxMaxBuffer:262",
                    "a=T38FaxUdpEC:t38UDPRedundancy",
                    audio=False,
                )
            )
        ],
    ),
    Conversation(
        "fax in capital letters",
        [offer(sdp(A, 0, FAX[0].replace("udptl", "UDPTL"), *FAX[1:], audio=False), "Transports in capitals")],
    ),
    Conversation(
        "fax refused by force and stop",
        [offer("", "No T.38 gateway", T38=["force"]), offer("", "No T.38 gateway", T38=["stop"])],
    ),
    # --- what is no RTP ---
    Conversation("MSRP over TCP", [offer(sdp(A, 4000, "m=message 7000 TCP/MSRP *", "a=path:msrp://x;tcp"))]),
    Conversation("nothing but a rejected section", [offer(sdp(A, 0))]),
    Conversation("no section at all", [offer(sdp(A, 0, audio=False), "SDP without media")]),
    Conversation(
        "three sections",
        [offer(sdp(A, 4000, *VIDEO, "m=audio 5002 RTP/AVP 0")), answer(sdp(B, 4002, *VIDEO, "m=audio 5004 RTP/AVP 0"))],
    ),
)
