"""Which keys are offered, chosen and accepted by SDES (RFC 4568), one leg at a time: the relay's keys are its own on
each leg.

Rules:
- Towards the receiver of an offer: the suites the offerer named, in its order, then all others we know, each with a
  fresh key. A leg that has keys keeps them in a re-offer, so that nothing has to be agreed anew.
- Of an offer's lines one is chosen, the first we can do; our answer repeats its tag and session parameters (section
  5.1.2).
- An answer counts only if tag and suite are of a line we offered (section 5.1.3).

The options are those of `SDES=`: off, nonew (offer no suite the offerer has not named), no-SUITE, only-SUITE,
order:SUITE;SUITE (what is offered, in that order first), offerer_pref:SUITE;SUITE (what is chosen first), static (a
re-offer adds nothing), lifetime, pad, unencrypted_srtp, unencrypted_srtcp, unauthenticated_srtp.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import msgspec

from rtprelay.security.kdf import MasterKey
from rtprelay.security.sdes import CryptoLine
from rtprelay.security.srtp import SrtpParameters
from rtprelay.security.suites import SUITES, Suite

LIFETIME = "2^31"
"""Packets; written only on request, many clients stumble over it."""
DEFAULT_ORDER = (
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_32",
    "AES_192_CM_HMAC_SHA1_80",
    "AES_192_CM_HMAC_SHA1_32",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
    "F8_128_HMAC_SHA1_80",
)
"""Offered when nothing else is said; the NULL suites only if they are asked for by name."""
_OFF = frozenset({"off", "no", "disable"})
_SESSION = ("unencrypted_srtp", "unencrypted_srtcp", "unauthenticated_srtp")

RandomBytes = Callable[[int], bytes]


class SdesOptions(msgspec.Struct, frozen=True):
    """What `SDES=` said."""

    off: bool = False
    nonew: bool = False
    static: bool = False
    lifetime: bool = False
    pad: bool = False
    refused: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    session: frozenset[str] = frozenset()

    def allows(self, suite: Suite) -> bool:
        return suite.name not in self.refused and (not self.only or suite.name in self.only)


@functools.lru_cache(maxsize=256)
def sdes_options(words: tuple[str, ...]) -> SdesOptions:
    """From the words of the `SDES` option; unknown words and suites say nothing."""
    lower = {word.lower().replace("-", "_") for word in words}
    return SdesOptions(
        off=bool(lower & _OFF),
        nonew="nonew" in lower,
        static="static" in lower,
        lifetime="lifetime" in lower,
        pad="pad" in lower,
        refused=frozenset(_named(words, "no-", "no_")),
        only=frozenset(_named(words, "only-", "only_")),
        order=tuple(_listed(words, "order:")),
        preferred=tuple(_listed(words, "offerer_pref:")),
        session=frozenset(name for name in _SESSION if name in lower),
    )


def _named(words: Iterable[str], *prefixes: str) -> Iterable[str]:
    for word in words:
        for prefix in prefixes:
            if word.startswith(prefix) and word[len(prefix) :] in SUITES:
                yield word[len(prefix) :]


def _listed(words: Iterable[str], prefix: str) -> Iterable[str]:
    for word in words:
        if word.startswith(prefix):
            yield from (name for name in word[len(prefix) :].split(";") if name in SUITES)


def propose(
    received: tuple[CryptoLine, ...], before: tuple[CryptoLine, ...], options: SdesOptions, random_bytes: RandomBytes
) -> tuple[CryptoLine, ...]:
    """The lines to offer. `received`: the offerer's; `before`: what this leg offered last, whose keys are kept."""
    if before and options.static:
        return before
    theirs = [line.suite.name for line in received]
    ours = [line.suite.name for line in before]
    names = [*options.order, *theirs, *ours, *(() if options.nonew and theirs else DEFAULT_ORDER)]
    suites = [SUITES[name] for name in dict.fromkeys(names) if options.allows(SUITES[name])]
    kept = {line.suite.name: line for line in before}
    tags = iter(range(1 + max((line.tag for line in before), default=0), 1000))
    return tuple(kept.get(suite.name) or _fresh(next(tags), suite, options, random_bytes) for suite in suites)


def acceptable(received: tuple[CryptoLine, ...], options: SdesOptions) -> tuple[CryptoLine, ...]:
    """The offered lines that may be answered, those to be answered first in front."""
    if not received:
        return ()
    rank = {name: place for place, name in enumerate(options.preferred)}
    allowed = (line for line in received if options.allows(line.suite))
    return tuple(sorted(allowed, key=lambda line: rank.get(line.suite.name, len(rank))))


def choose(received: tuple[CryptoLine, ...], options: SdesOptions) -> CryptoLine | None:
    """The offered line to answer, None: there is none we can do."""
    return next(iter(acceptable(received, options)), None)


def respond(
    chosen: CryptoLine, before: CryptoLine | None, options: SdesOptions, random_bytes: RandomBytes
) -> CryptoLine:
    """Our line in answer to `chosen`; the key of `before` is kept if tag, suite and session parameters are the same."""
    if before is not None and before.tag == chosen.tag and _agree(before, chosen):
        return before
    theirs = chosen.parameters
    master = _master(theirs.suite, random_bytes)
    parameters = msgspec.structs.replace(theirs, master=master)
    return CryptoLine(chosen.tag, parameters, LIFETIME if options.lifetime else None, options.pad)


def accept(answered: tuple[CryptoLine, ...], proposed: tuple[CryptoLine, ...]) -> tuple[CryptoLine, CryptoLine] | None:
    """(our line, their line) of an answer; None: it answers nothing that we offered."""
    for theirs in answered:
        for ours in proposed:
            if ours.tag == theirs.tag and _agree(ours, theirs):
                return ours, theirs
    return None


def _agree(one: CryptoLine, other: CryptoLine) -> bool:
    a, b = one.parameters, other.parameters
    return (a.suite, a.unencrypted_srtp, a.unencrypted_srtcp, a.unauthenticated_srtp) == (
        b.suite,
        b.unencrypted_srtp,
        b.unencrypted_srtcp,
        b.unauthenticated_srtp,
    )


def _fresh(tag: int, suite: Suite, options: SdesOptions, random_bytes: RandomBytes) -> CryptoLine:
    session = (name in options.session for name in _SESSION)
    parameters = SrtpParameters(suite, _master(suite, random_bytes), *session)
    return CryptoLine(tag, parameters, LIFETIME if options.lifetime else None, options.pad)


def _master(suite: Suite, random_bytes: RandomBytes) -> MasterKey:
    return MasterKey(random_bytes(suite.key_length), random_bytes(suite.salt_length))
