"""Keeps the relay's DTLS certificate young: made in a thread, because an RSA key takes seconds, and renewed in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from rtprelay.errors import RelayError
from rtprelay.security.certificate import VALIDITY, Certificate, KeyType, generate
from rtprelay.store.certificates import load_certificates, save_certificates

RENEW_BEFORE = VALIDITY.total_seconds() / 2
LOOK_EVERY = 3600.0
"""Seconds."""

Wall = Callable[[], float]


class CertificateKeeper:
    def __init__(
        self, directory: Path, key_type: KeyType, rsa_bits: int, log: FilteringBoundLogger, wall: Wall = time.time
    ) -> None:
        self._directory = directory
        self._key_type = key_type
        self._rsa_bits = rsa_bits
        self._log = log
        self._wall = wall
        self._kept: list[Certificate] = []

    async def start(self) -> list[Certificate]:
        """Those of our predecessor that have not expired, and a new one where none of the wanted kind is left."""
        try:
            self._kept = [c for c in load_certificates(self._directory) if c.expires > self._wall()]
        except RelayError as error:
            self._log.error("certificates lost", reason=error.reason)
        if not self._fresh():
            await self._renew()
        return self._kept

    async def keep(self, renewed: Callable[[Iterable[Certificate]], None]) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self._fresh():
                renewed((await self._renew(),))

    def _fresh(self) -> bool:
        newest = self._kept[-1] if self._kept else None
        if newest is None or newest.key_type is not self._key_type or newest.expires - self._wall() <= RENEW_BEFORE:
            return False
        return newest.key_type is KeyType.ECDSA or newest.key_bits == self._rsa_bits

    async def _renew(self) -> Certificate:
        # A thread of its own: one of a pool would wait for the next key for two weeks.
        thread = ThreadPoolExecutor(1)
        try:
            work = asyncio.get_running_loop().run_in_executor
            made = await work(thread, generate, self._wall(), self._key_type, self._rsa_bits)
        finally:
            thread.shutdown(wait=False)
        self._kept = [c for c in self._kept if c.expires > self._wall()] + [made]
        try:
            save_certificates(self._directory, self._kept)
        except RelayError as error:
            self._log.error("certificate not kept", reason=error.reason)
        self._log.info("certificate made", certificate=repr(made))
        return made
