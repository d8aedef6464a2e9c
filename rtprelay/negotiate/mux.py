"""RTP and RTCP on one port (RFC 5761): what is offered, and what is answered.

Left alone, a=rtcp-mux passes through: offered to the other side, answered as that side answers. The options of an offer
change this: `demux` keeps it from the other side and accepts it, `accept` accepts it whatever the other side says,
`reject` refuses it, `offer` and `require` add it towards the other side. Those of an answer mean nothing. What a party
has once agreed to is offered to it again.
"""

from __future__ import annotations

from rtprelay.call.media import Media

ACCEPTING = frozenset({"accept", "demux"})
OFFERING = frozenset({"offer", "require"})


def offered(ours: Media, theirs: Media, muxed: bool, options: frozenset[str]) -> None:
    """The offerer's section is `muxed`."""
    if not muxed or "reject" in options:
        ours.mux_reply = False
    else:
        ours.mux_reply = True if options & ACCEPTING else None
    theirs.mux_proposed = (muxed and "demux" not in options) or theirs.rtcp_mux or bool(options & OFFERING)


def answered(ours: Media, theirs: Media, muxed: bool) -> None:
    """The answerer's section is `muxed`; that counts only where it was proposed."""
    theirs.rtcp_mux = muxed and theirs.mux_proposed
    ours.rtcp_mux = theirs.rtcp_mux if ours.mux_reply is None else ours.mux_reply
