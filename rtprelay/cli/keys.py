"""The SRTP keys of a call, for the operator who has asked for them in so many words: to decrypt a capture of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rtprelay.call.call import Call
from rtprelay.observe.log import printable


def keys(call: Call) -> Iterator[dict[str, Any]]:
    """Those agreed, by SDES or by DTLS, each as the value of an a=crypto line (RFC 4568 section 4)."""
    for party in call.parties.values():
        for index, media in enumerate(party.medias, 1):
            for direction, line in (("receive", media.crypto_receive), ("send", media.crypto_send)):
                if line is not None:
                    yield {"tag": party.tag, "index": index, "direction": direction, "crypto": str(line)}


def key_lines(found: list[dict[str, Any]]) -> str:
    """`receive`: what the party protects its packets with, `send`: what the relay protects those to it with."""
    return "".join(
        f"--- Key of tag '{printable(key['tag'])}', media #{key['index']}, {key['direction']}: {key['crypto']}\n"
        for key in found
    )
