"""ICE stripped, forced and passed on: who is offered it, who is answered it."""

from __future__ import annotations

from tests.interop.script import B6, QUERY, A, B, Conversation, answer, offer, sdp

CALLER = (
    "a=ice-ufrag:abcd",
    "a=ice-pwd:0123456789abcdefghijklmn",
    f"a=candidate:1 1 UDP 2130706431 {A} 4000 typ host",
    f"a=candidate:1 2 UDP 2130706430 {A} 4001 typ host",
)
CALLEE = (
    "a=ice-ufrag:wxyz",
    "a=ice-pwd:nmlkjihgfedcba9876543210",
    f"a=candidate:1 1 UDP 2130706431 {B} 4002 typ host",
    f"a=candidate:1 2 UDP 2130706430 {B} 4003 typ host",
)
RESTARTED = ("a=ice-ufrag:efgh", "a=ice-pwd:zzzz456789abcdefghijklmn", *CALLER[2:])
WITH, BACK = sdp(A, 4000, *CALLER), sdp(B, 4002, *CALLEE)

CONVERSATIONS = (
    *(
        Conversation(
            f"ICE={word}, offerer {'with' if mine else 'without'}, answerer {'with' if yours else 'without'}",
            [
                offer(WITH if mine else sdp(), ICE=word),
                answer(BACK if yours else ""),
                QUERY,
                offer(WITH if mine else sdp(), to="b"),
            ],
        )
        for word in ("default", "remove", "force", "optional")
        for mine in (False, True)
        for yours in (False, True)
        if not yours or word in ("force", "optional") or (mine and word == "default")
        if not (mine and word == "optional")
    ),
    *(
        Conversation(f"ICE={word} in the answer", [offer(WITH), answer(BACK, ICE=word), QUERY])
        for word in ("remove", "force", "default")
    ),
    Conversation(
        "ICE=optional, offerer and answerer with",
        [offer(WITH, "Optional ICE", ICE="optional"), answer(BACK, "Optional ICE", ICE="optional")],
    ),
    Conversation("ICE relayed", [offer("", "ICE as a relay", ICE="force-relay")]),
    Conversation("ICE as a flag", [offer("", "Newer than 10.5", flags=["ICE-force"])]),
    Conversation("ICE in a call with rtcp-mux", [offer(sdp(A, 4000, *CALLER, "a=rtcp-mux"), rtcp_mux=["require"])]),
    Conversation("ICE forced with rtcp-mux offered", [offer(ICE="force", rtcp_mux=["offer"])]),
    Conversation("ICE forced with rtcp-mux required", [offer(ICE="force", rtcp_mux=["offer", "require"])]),
    Conversation(
        "ICE answered with rtcp-mux", [offer(sdp(A, 4000, *CALLER, "a=rtcp-mux"), rtcp_mux=["demux"]), answer()]
    ),
    Conversation("ICE restarted", [offer(WITH), answer(BACK), offer(sdp(A, 4000, *RESTARTED), to="b"), answer(BACK)]),
    Conversation("ICE unchanged", [offer(WITH), answer(BACK), offer(WITH, to="b"), answer(BACK)]),
    Conversation("ICE given up in a reinvite", [offer(WITH), answer(BACK), offer(to="b"), answer(), QUERY]),
    Conversation("ICE begun in a reinvite", [offer(), answer(), offer(WITH, to="b"), answer("", "Ports that stay")]),
    Conversation("ICE removed in a reinvite", [offer(WITH), answer(BACK), offer(WITH, to="b", ICE="remove"), answer()]),
    Conversation(
        "ICE offered by the callee",
        [offer(), answer(), offer(BACK, tag="b", to="a"), answer(WITH, "Ports that stay", tag="b", to="a")],
    ),
    Conversation("ICE refused to the offerer", [offer(WITH, "Newer than 10.5", flags=["reject-ICE"]), answer()]),
    Conversation("ICE lite forward", [offer(WITH, ICE_lite="forward"), answer(BACK)]),
    Conversation("ICE lite backward", [offer(WITH, ICE_lite="backward"), answer(BACK)]),
    Conversation("ICE lite both ways", [offer(WITH, ICE_lite="both"), answer(BACK)]),
    Conversation("an ICE lite offerer", [offer(WITH.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n")), answer(BACK)]),
    Conversation("ICE with trickling", [offer(ICE="force", flags=["trickle-ICE"])]),
    Conversation("an ICE offer without candidates", [offer(sdp(A, 4000, *CALLER[:2])), answer(BACK)]),
    Conversation("candidates without credentials", [offer(sdp(A, 4000, *CALLER[2:])), answer()]),
    Conversation(
        "ICE credentials of the session",
        [offer(WITH.replace("t=0 0\r\n", "t=0 0\r\n" + "".join(f"{line}\r\n" for line in CALLER[:2])), ICE="force")],
    ),
    Conversation("ICE over IPv6", [offer(address_family="IP6", ICE="force"), answer(sdp(B6, 4002))]),
    Conversation(
        "ICE for audio and video",
        [offer(sdp(A, 4000, *CALLER, "m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000", *CALLER[:2])), answer(BACK)],
    ),
)
