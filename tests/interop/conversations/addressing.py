"""Addresses, interfaces and NAT."""

from __future__ import annotations

from tests.interop.script import A6, B6, QUERY, A, B, C, Conversation, answer, offer, sdp

CONVERSATIONS = (
    Conversation("SIP source address", [offer(flags=["SIP-source-address"], received_from=["IP4", C]), QUERY]),
    Conversation("trust address", [offer(flags=["trust-address"], received_from=["IP4", C]), QUERY]),
    Conversation(
        "a stock kamailio.cfg",
        [
            offer(flags=["SIP-source-address"], replace=["origin", "session-connection"], received_from=["IP4", C]),
            answer(flags=["SIP-source-address"], replace=["origin", "session-connection"], received_from=["IP4", B]),
        ],
    ),
    Conversation("replace origin", [offer(replace=["origin"]), answer(replace=["origin"])]),
    Conversation(
        "replace version and username",
        [
            offer(replace=["SDP-version", "username"]),
            offer(sdp(origin="al 1 7"), replace=["SDP-version", "username"]),
            offer(sdp(A, 4000, "a=sendonly", origin="al 1 8"), replace=["SDP-version", "username"]),
        ],
    ),
    Conversation(
        "replace session name",
        [
            offer(replace=["session-name"]),
            offer(sdp().replace("s=-", "s=other"), replace=["session-name"]),
        ],
    ),
    Conversation(
        "interfaces",
        [
            offer(direction=["a", "b"]),
            answer(),
            offer(to="b"),
            offer(sdp(B, 4002), tag="b", to="a"),
        ],
    ),
    Conversation(
        "interfaces the other way round", [offer(direction=["a", "b"]), answer(), offer(to="b", direction=["b", "a"])]
    ),
    Conversation("an unknown interface", [offer(direction=["a", "nowhere"])]),
    Conversation("a media address", [offer(media_address="192.0.2.77"), answer(media_address="192.0.2.78")]),
    Conversation("IPv6", [offer(sdp(A6)), answer(sdp(B6, 4002)), QUERY]),
    Conversation(
        "IPv6 to IPv4",
        [offer(sdp(A6), address_family="IP4"), answer(), offer(sdp(A6), to="b"), offer(sdp(B, 4002), tag="b", to="a")],
    ),
    Conversation("IPv4 to IPv6", [offer(address_family="IP6"), answer(sdp(B6, 4002))]),
    Conversation("a caller that moves", [offer(), answer(), offer(sdp(A, 4010), "Ports that stay", to="b"), answer()]),
    Conversation("port latching", [offer(), answer(), offer(sdp(A, 4010), to="b", flags=["port-latching"]), answer()]),
    Conversation("no port latching", [offer(), answer(), offer(sdp(A, 4010), to="b", flags=["no-port-latching"])]),
    Conversation("an RTCP attribute", [offer(sdp(A, 4000, "a=rtcp:4100")), QUERY]),
    Conversation("an RTCP address", [offer(sdp(A, 4000, f"a=rtcp:4100 IN IP4 {C}")), QUERY]),
    Conversation(
        "no and full RTCP attributes", [offer(flags=["no-rtcp-attribute"]), answer(flags=["full-rtcp-attribute"])]
    ),
    Conversation(
        "flags without an effect on the SDP",
        [
            offer(flags=["asymmetric", "strict-source", "media-handover", "unidirectional"]),
            answer(flags=["symmetric"]),
        ],
    ),
    Conversation("rtpp-flags", [offer("", "Newer than 10.5", rtpp_flags="trust-address replace-origin ICE=remove")]),
)
