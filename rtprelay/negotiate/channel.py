"""Data channels in offer and answer (RFC 8864): an m-line of its own or within a bundle.

DTLS ends here, as the media's keys come from it, and what it carried goes on within the DTLS of the other leg: SCTP and
all above it stay between the parties. Beside plain RTP there is no DTLS, and a data channel is refused.
"""

from __future__ import annotations

from rtprelay.sdp.view import MediaView
from rtprelay.signalling.command import IceOption, MediaFlags


def refused(view: MediaView, flags: MediaFlags) -> bool:
    """Whether the offered section has no place on the other side."""
    profile = flags.transport_protocol
    other_profile = profile not in (None, "accept") and not str(profile).startswith("UDP/TLS/")
    return view.is_channel and (other_profile or flags.ice is IceOption.REMOVE or flags.dtls == "off")
