"""Bearer tokens (RFC 6750): the secrets that open HTTP, WebSocket and ng/TCP. They are compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from rtprelay.errors import OurFault

SHORTEST = 16


class Tokens:
    """Several, so that a new one can be handed out before the old one goes. Without any: everyone is let in."""

    def __init__(self, tokens: tuple[str, ...] = ()) -> None:
        # Digests are of one length: comparing them tells nothing about the length of a token either.
        self._digests = tuple(_digest(token) for token in tokens)

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """One token a line; empty lines and those that begin with # are skipped. Raises OurFault, naming no token."""
        try:
            lines = [line.strip() for line in path.read_text("ascii").splitlines()]
        except OSError as error:
            raise OurFault(f"control-token-file {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise OurFault(f"control-token-file {path}: tokens are ASCII") from None
        tokens = tuple(line for line in lines if line and not line.startswith("#"))
        if not tokens:
            raise OurFault(f"control-token-file {path}: there is no token in it")
        if any(len(token) < SHORTEST or " " in token for token in tokens):
            raise OurFault(f"control-token-file {path}: a token is {SHORTEST} or more characters without spaces")
        return cls(tokens)

    def become(self, other: Tokens) -> None:
        """Other tokens, for all who hold these."""
        self._digests = other._digests

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, credentials: str) -> bool:
        """`credentials`: the value of an Authorization header, `Bearer TOKEN`."""
        scheme, _, token = credentials.strip().partition(" ")
        presented = _digest(token.strip())
        # All are compared, whichever matches: a list, not a generator that any() would cut short.
        matches = [hmac.compare_digest(presented, digest) for digest in self._digests]
        return not self._digests or (scheme.lower() == "bearer" and any(matches))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
