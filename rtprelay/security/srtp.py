"""SRTP and SRTCP on single packets (RFC 3711, RFC 6188, RFC 7714), one direction at a time.

Rules, all taken from RFC 3711 section 3.3: estimate the index, check replay, authenticate, decrypt, and only then let
the packet change anything. A packet that fails leaves no trace. To send, the index is used up first, and once: see
`indices`.
"""

from __future__ import annotations

import hmac
import weakref
from collections.abc import Callable, Mapping
from hashlib import sha1, sha256
from typing import Literal
from weakref import WeakValueDictionary

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rtprelay.security.indices import (
    MAX_SSRCS,
    AuthenticationFailed,
    IndexExhausted,
    Indices,
    KeptHere,
    SrtpFault,
    check,
)
from rtprelay.security.kdf import MasterKey, derive
from rtprelay.security.replay import MAX_RTCP_INDEX, ReplayWindow
from rtprelay.security.suites import Cipher, Suite

_ENCRYPTED = 1 << 31
"""The E bit before the SRTCP index (RFC 3711 section 3.4)."""


class SrtpParameters(msgspec.Struct, frozen=True):
    """Everything agreed for one direction. The exceptions from protection are SDES session parameters (RFC 4568 section
    6.3).
    """

    suite: Suite
    master: MasterKey
    unencrypted_srtp: bool = False
    unencrypted_srtcp: bool = False
    unauthenticated_srtp: bool = False


class SrtpState(msgspec.Struct, array_like=True):
    """What has to outlive a restart or a hand-over between kernel and userspace: the indices per SSRC."""

    rtp: dict[int, ReplayWindow] = {}
    rtcp: dict[int, ReplayWindow] = {}


Direction = Literal["in", "out"]
Shared = Callable[[Direction, SrtpParameters], Indices | None]
"""The indices of a key that another data plane uses as well: then they are kept there. None: here."""


def _nobody() -> None:
    return None


class SrtpContext:
    """Protects or unprotects the packets of one direction; which of the two is up to the owner."""

    def __init__(
        self, parameters: SrtpParameters, state: SrtpState | None = None, shared: Callable[[], Indices | None] = _nobody
    ) -> None:
        self.parameters = parameters
        self.state = SrtpState() if state is None else state
        self._shared = shared
        self._suite = parameters.suite
        self._keys = derive(parameters.suite, parameters.master)
        self._mki = parameters.master.mki
        self._rtp_tag = 0 if parameters.unauthenticated_srtp else self._suite.rtp_tag
        if self._suite.aead:
            self._rtp_gcm, self._rtcp_gcm = AESGCM(self._keys.rtp_cipher), AESGCM(self._keys.rtcp_cipher)

    # --- RTP ---

    def protect(self, packet: bytes) -> bytes:
        """RTP to SRTP; the sequence number may change. Raises SrtpFault."""
        header = rtp_header_length(packet)
        ssrc = int.from_bytes(packet[8:12])
        index = self._indices().send(ssrc, int.from_bytes(packet[2:4]))
        packet = packet[:2] + (index & 0xFFFF).to_bytes(2) + packet[4:]
        if self._suite.aead:
            return packet[:header] + self._seal_rtp(packet, header, ssrc, index) + self._mki
        body = packet[header:] if self.parameters.unencrypted_srtp else self._rtp_xor(packet, header, ssrc, index)
        portion = packet[:header] + body
        tag = self._hmac(self._keys.rtp_auth, portion + (index >> 16).to_bytes(4), self._rtp_tag)
        return portion + self._mki + tag

    def unprotect(self, packet: bytes) -> bytes:
        """SRTP to RTP. Raises SrtpFault; then nothing has changed."""
        plain, ssrc, index = self._opened(packet)
        self._indices().receive(ssrc, index)
        return plain

    def _opened(self, packet: bytes) -> tuple[bytes, int, int]:
        """The RTP packet, its SSRC and its index, which is not used up yet."""
        header = rtp_header_length(packet)
        trailer = self._rtp_tag + len(self._mki)
        if len(packet) < header + trailer:
            raise SrtpFault("packet is too short for its tag")
        ssrc = int.from_bytes(packet[8:12])
        index = self._indices().arriving(ssrc, int.from_bytes(packet[2:4]))
        if self._suite.aead:
            end = len(packet) - len(self._mki)
            self._check_mki(packet[end:])
            return self._open_rtp(packet, header, end, ssrc, index), ssrc, index
        end = len(packet) - trailer
        self._check_mki(packet[end : end + len(self._mki)])
        portion = packet[:end]
        expected = self._hmac(self._keys.rtp_auth, portion + (index >> 16).to_bytes(4), self._rtp_tag)
        if not hmac.compare_digest(expected, packet[end + len(self._mki) :]):
            raise AuthenticationFailed("SRTP tag does not match")
        body = portion[header:] if self.parameters.unencrypted_srtp else self._rtp_xor(portion, header, ssrc, index)
        return packet[:header] + body, ssrc, index

    def authentic(self, packet: bytes) -> bool:
        """Whether an RTP or RTCP packet would be accepted; nothing changes."""
        try:
            if 192 <= packet[1] <= 223:
                self._opened_rtcp(packet)
            else:
                self._opened(packet)
        except SrtpFault:
            return False
        return True

    # --- RTCP ---

    def protect_rtcp(self, packet: bytes) -> bytes:
        """A compound RTCP packet to SRTCP. Raises SrtpFault."""
        if len(packet) < 8:
            raise SrtpFault("RTCP packet is too short")
        ssrc = int.from_bytes(packet[4:8])
        window = self.state.rtcp.get(ssrc) or ReplayWindow()
        index = window.highest + 1
        check(window, index, MAX_RTCP_INDEX)
        clear = self.parameters.unencrypted_srtcp
        word = (index if clear else index | _ENCRYPTED).to_bytes(4)
        if self._suite.aead:
            nonce = self._rtcp_nonce(ssrc, index)
            if clear:
                out = packet + self._rtcp_gcm.encrypt(nonce, b"", packet + word) + word + self._mki
            else:
                out = packet[:8] + self._rtcp_gcm.encrypt(nonce, packet[8:], packet[:8] + word) + word + self._mki
        else:
            body = packet[8:] if clear else self._rtcp_xor(packet, ssrc, index, word)
            portion = packet[:8] + body + word
            out = portion + self._mki + self._hmac(self._keys.rtcp_auth, portion, self._suite.rtcp_tag)
        self._commit_rtcp(ssrc, window, index)
        return out

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """SRTCP to RTCP. Raises SrtpFault; then nothing has changed."""
        plain, ssrc, window, index = self._opened_rtcp(packet)
        self._commit_rtcp(ssrc, window, index)
        return plain

    def _opened_rtcp(self, packet: bytes) -> tuple[bytes, int, ReplayWindow, int]:
        """The RTCP packet, its SSRC, that one's window and its index, which is not used up yet."""
        tag, mki = self._suite.rtcp_tag, len(self._mki)
        if len(packet) < 8 + 4 + tag + mki:
            raise SrtpFault("SRTCP packet is too short for its tag")
        ssrc = int.from_bytes(packet[4:8])
        aead = self._suite.aead
        word_end = len(packet) - mki - (0 if aead else tag)
        self._check_mki(packet[word_end : word_end + mki])
        word = packet[word_end - 4 : word_end]
        index = int.from_bytes(word) & MAX_RTCP_INDEX
        encrypted = bool(word[0] & 0x80)
        window = self.state.rtcp.get(ssrc) or ReplayWindow()
        check(window, index, MAX_RTCP_INDEX)
        if aead:
            plain = self._open_rtcp(packet[: word_end - 4], word, ssrc, index, encrypted)
        else:
            expected = self._hmac(self._keys.rtcp_auth, packet[:word_end], tag)
            if not hmac.compare_digest(expected, packet[word_end + mki :]):
                raise AuthenticationFailed("SRTCP tag does not match")
            portion = packet[: word_end - 4]
            plain = portion[:8] + (self._rtcp_xor(portion, ssrc, index, word) if encrypted else portion[8:])
        return plain, ssrc, window, index

    # --- indices ---

    def _check_mki(self, mki: bytes) -> None:
        if mki != self._mki:
            raise AuthenticationFailed("unknown MKI")

    def _indices(self) -> Indices:
        """Of RTP."""
        return self._shared() or KeptHere(self.state.rtp)

    def _commit_rtcp(self, ssrc: int, window: ReplayWindow, index: int) -> None:
        if ssrc not in self.state.rtcp and len(self.state.rtcp) >= MAX_SSRCS:
            raise IndexExhausted("too many SSRCs under one key")
        window.commit(index)
        self.state.rtcp[ssrc] = window

    # --- ciphers ---

    @staticmethod
    def _hmac(key: bytes, data: bytes, length: int) -> bytes:
        return hmac.digest(key, data, sha1)[:length] if length else b""

    def _rtp_xor(self, packet: bytes, header: int, ssrc: int, index: int) -> bytes:
        keys = self._keys
        match self._suite.cipher:
            case Cipher.AES_CM:
                return _counter_mode(keys.rtp_cipher, keys.rtp_salt, ssrc, index, packet[header:])
            case Cipher.AES_F8:
                iv = b"\0" + packet[1:12] + (index >> 16).to_bytes(4)
                return _f8_mode(keys.rtp_cipher, keys.rtp_salt, iv, packet[header:])
        return packet[header:]

    def _rtcp_xor(self, packet: bytes, ssrc: int, index: int, word: bytes) -> bytes:
        keys = self._keys
        match self._suite.cipher:
            case Cipher.AES_CM:
                return _counter_mode(keys.rtcp_cipher, keys.rtcp_salt, ssrc, index, packet[8:])
            case Cipher.AES_F8:
                return _f8_mode(keys.rtcp_cipher, keys.rtcp_salt, bytes(4) + word + packet[:8], packet[8:])
        return packet[8:]

    def _seal_rtp(self, packet: bytes, header: int, ssrc: int, index: int) -> bytes:
        nonce = self._rtp_nonce(ssrc, index)
        if self.parameters.unencrypted_srtp:
            return packet[header:] + self._rtp_gcm.encrypt(nonce, b"", packet)
        return self._rtp_gcm.encrypt(nonce, packet[header:], packet[:header])

    def _open_rtp(self, packet: bytes, header: int, end: int, ssrc: int, index: int) -> bytes:
        nonce = self._rtp_nonce(ssrc, index)
        try:
            if self.parameters.unencrypted_srtp:
                start = end - self._suite.rtp_tag
                self._rtp_gcm.decrypt(nonce, packet[start:end], packet[:start])
                return packet[:start]
            return packet[:header] + self._rtp_gcm.decrypt(nonce, packet[header:end], packet[:header])
        except InvalidTag:
            raise AuthenticationFailed("SRTP tag does not match") from None

    def _open_rtcp(self, sealed: bytes, word: bytes, ssrc: int, index: int, encrypted: bool) -> bytes:
        nonce = self._rtcp_nonce(ssrc, index)
        try:
            if encrypted:
                return sealed[:8] + self._rtcp_gcm.decrypt(nonce, sealed[8:], sealed[:8] + word)
            start = len(sealed) - self._suite.rtcp_tag
            self._rtcp_gcm.decrypt(nonce, sealed[start:], sealed[:start] + word)
            return sealed[:start]
        except InvalidTag:
            raise AuthenticationFailed("SRTCP tag does not match") from None

    def _rtp_nonce(self, ssrc: int, index: int) -> bytes:
        """RFC 7714 section 8.1."""
        return (int.from_bytes(self._keys.rtp_salt) ^ (ssrc << 48 | index)).to_bytes(12)

    def _rtcp_nonce(self, ssrc: int, index: int) -> bytes:
        """RFC 7714 section 9.1."""
        return (int.from_bytes(self._keys.rtcp_salt) ^ (ssrc << 48 | index)).to_bytes(12)


RESTART_MARGIN = 1 << 16
"""SRTCP indices skipped after a restart: more than can have been used since the state was last kept."""
MAX_RETIRED = 4096
"""Keys nobody uses whose indices are remembered."""


class SrtpContexts:
    """The contexts of all keys in use: RTP and RTCP under one key share theirs, which lives while anyone uses it.

    What they have come to can be exported and, after a restart, given back: without it a sender whose sequence numbers
    have wrapped could not be understood, and a key's indices would be used twice.
    """

    def __init__(self, shared: Shared | None = None) -> None:
        self._shared = shared
        self._receiving: WeakValueDictionary[SrtpParameters, SrtpContext] = WeakValueDictionary()
        self._sending: WeakValueDictionary[SrtpParameters, SrtpContext] = WeakValueDictionary()
        self._remembered: dict[str, SrtpState] = {}
        self._settled = True
        self._retired: dict[str, SrtpState] = {}
        """Of keys nobody uses for the moment: media that was taken out of a call may come back with its keys."""

    def receiving(self, parameters: SrtpParameters | None) -> SrtpContext | None:
        return None if parameters is None else self._context(self._receiving, parameters, "in")

    def sending(self, parameters: SrtpParameters | None) -> SrtpContext | None:
        return None if parameters is None else self._context(self._sending, parameters, "out")

    def export(self) -> dict[str, SrtpState]:
        """The state of each key, by a name that does not give it away."""
        states = self._remembered | self._retired
        states.update((_name(context.parameters, "in"), context.state) for context in self._receiving.values())
        states.update((_name(context.parameters, "out"), context.state) for context in self._sending.values())
        return states

    def known(self, direction: Direction, parameters: SrtpParameters) -> dict[int, ReplayWindow]:
        """How far a key has been used here, by SSRC: RTP alone."""
        return self._state(direction, parameters).rtp

    def learn(self, direction: Direction, parameters: SrtpParameters, windows: Mapping[int, ReplayWindow]) -> None:
        """How far another data plane, which has kept the indices of a key, has used it, by SSRC: now we keep them."""
        state = self._state(direction, parameters)
        state.rtp.update(windows)
        if self._found(direction, parameters) is None:
            self._retire(_name(parameters, direction), state)

    def remember(self, states: Mapping[str, SrtpState], settled: bool) -> None:
        """What a predecessor had come to, for the contexts there are and those that are made from now on. `settled`: it
        has sent nothing since."""
        self._remembered, self._settled = dict(states), settled
        for context in self._receiving.values():
            self._recall(context, "in")
        for context in self._sending.values():
            self._recall(context, "out")

    def _recall(self, context: SrtpContext, direction: Direction) -> None:
        name = _name(context.parameters, direction)
        state = self._idle(name, direction)
        if state is not None:
            context.state.rtp, context.state.rtcp = state.rtp, state.rtcp
            del self._retired[name]

    def _state(self, direction: Direction, parameters: SrtpParameters) -> SrtpState:
        """Of a key in use, or one that has been."""
        context = self._found(direction, parameters)
        if context is not None:
            return context.state
        return self._idle(_name(parameters, direction), direction) or SrtpState()

    def _idle(self, name: str, direction: Direction) -> SrtpState | None:
        """Of a key that nobody uses for the moment, or since the restart."""
        state = self._remembered.pop(name, None)
        if state is not None:
            if direction == "out":
                self._doubt(state)
            self._retire(name, state)
        return self._retired.get(name)

    def _doubt(self, state: SrtpState) -> None:
        """More may have been sent than was kept."""
        for window in state.rtcp.values():
            window.highest += RESTART_MARGIN
            window.seen = 1
        for window in state.rtp.values():
            window.doubtful |= not self._settled

    def _found(self, direction: Direction, parameters: SrtpParameters) -> SrtpContext | None:
        return (self._receiving if direction == "in" else self._sending).get(parameters)

    def _context(
        self,
        contexts: WeakValueDictionary[SrtpParameters, SrtpContext],
        parameters: SrtpParameters,
        direction: Direction,
    ) -> SrtpContext:
        context = contexts.get(parameters)
        if context is None:
            name, shared = _name(parameters, direction), self._shared
            context = contexts[parameters] = SrtpContext(
                parameters,
                self._idle(name, direction),
                _nobody if shared is None else lambda: shared(direction, parameters),
            )
            self._retired.pop(name, None)
            weakref.finalize(context, self._retire, name, context.state)
        return context

    def _retire(self, name: str, state: SrtpState) -> None:
        if state.rtp or state.rtcp:
            self._retired[name] = state
        while len(self._retired) > MAX_RETIRED:
            del self._retired[next(iter(self._retired))]


def _name(parameters: SrtpParameters, direction: Direction) -> str:
    master = parameters.master
    return sha256(direction.encode() + master.key + master.salt).hexdigest()[:32]


def rtp_header_length(packet: bytes) -> int:
    """Fixed header, CSRCs and extension (RFC 3550 section 5.1): what stays in the clear. Raises SrtpFault."""
    if len(packet) < 12 or packet[0] >> 6 != 2:
        raise SrtpFault("no RTP packet")
    length = 12 + 4 * (packet[0] & 15)
    if packet[0] & 0x10:
        if len(packet) < length + 4:
            raise SrtpFault("RTP header extension is cut short")
        length += 4 + 4 * int.from_bytes(packet[length + 2 : length + 4])
    if len(packet) < length:
        raise SrtpFault("RTP header is cut short")
    return length


def _counter_mode(key: bytes, salt: bytes, ssrc: int, index: int, data: bytes) -> bytes:
    """RFC 3711 section 4.1.1."""
    counter = (int.from_bytes(salt) << 16) ^ (ssrc << 64) ^ (index << 16)
    return Aes(algorithms.AES(key), modes.CTR(counter.to_bytes(16))).encryptor().update(data)


def _f8_mode(key: bytes, salt: bytes, iv: bytes, data: bytes) -> bytes:
    """RFC 3711 section 4.1.2."""
    mask = salt.ljust(len(key), b"\x55")
    masked = bytes(a ^ b for a, b in zip(key, mask, strict=True))
    start = Aes(algorithms.AES(masked), modes.ECB()).encryptor().update(iv)
    encrypt = Aes(algorithms.AES(key), modes.ECB()).encryptor()
    first, block, out = int.from_bytes(start), 0, bytearray()
    for j in range(0, len(data), 16):
        block = int.from_bytes(encrypt.update((first ^ (j // 16) ^ block).to_bytes(16)))
        out += block.to_bytes(16)
    return bytes(a ^ b for a, b in zip(data, out, strict=False))
