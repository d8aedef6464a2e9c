"""aiortc as a WebRTC peer: `python -m` this runs in the party's namespace, `AiortcPeer` is its owner in the test.

It sends silence (an AudioStreamTrack). Two things of aiortc 1.16 are put right here: it knows ECDSA certificates and
ciphers only, and of a flight it sends the first 1500 bytes, wherever in a record that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport, SRTPProtectionProfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from tests.e2e.harness.puppet import Puppet
from tools.netns import Namespace

RSA_BITS = 4096


class AiortcPeer(Puppet):
    def __init__(self, namespace: Namespace, log: Path) -> None:
        super().__init__("tests.e2e.harness.aiortc_peer", namespace, log)

    def make(self, name: str, *kinds: str, certificate: str = "ECDSA") -> None:
        """A connection; of `kinds` audio and data."""
        self.call("make", name, kinds, certificate)

    def offer(self, name: str) -> str:
        return str(self.call("offer", name))


class RsaCertificate(RTCCertificate):
    def __init__(self) -> None:
        key = rsa.generate_private_key(65537, RSA_BITS)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aiortc")])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1))
        self._rsa_key = key
        self._cert = builder.not_valid_after(now + datetime.timedelta(1)).sign(key, hashes.SHA256())

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.use_certificate(self._cert)
        context.use_privatekey(self._rsa_key)
        context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20")
        context.set_tlsext_use_srtp(b":".join(profile.openssl_profile for profile in srtp_profiles))
        return context


async def write_whole_records(transport: RTCDtlsTransport) -> None:
    """Each record of the flight is a datagram."""
    connection = transport._ssl
    assert connection is not None
    flight = b""
    with contextlib.suppress(SSL.Error):
        while True:
            flight += connection.bio_read(16384)
    while flight:
        size = 13 + int.from_bytes(flight[11:13])
        await transport.transport._send(flight[:size])
        flight = flight[size:]


class Peer:
    def __init__(self, kinds: list[str], certificate: str) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        if certificate == "RSA":
            # aiortc has no way to hand in a certificate.
            vars(self.connection)["_RTCPeerConnection__certificates"] = [RsaCertificate()]
        self.heard: list[str] = []
        self.channel: RTCDataChannel | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.opened = asyncio.Event()
        if "audio" in kinds:
            self.connection.addTrack(AudioStreamTrack())
        if "data" in kinds:
            self._use(self.connection.createDataChannel("chat"))
        self.connection.on("datachannel", self._use)
        self.connection.on("track", self._listen)

    def _use(self, channel: RTCDataChannel) -> None:
        self.channel = channel
        channel.on("message", lambda message: self.heard.append(str(message)))
        if channel.readyState == "open":
            self.opened.set()
        channel.on("open", self.opened.set)

    def _listen(self, track: MediaStreamTrack) -> None:
        async def consume() -> None:
            try:
                while True:
                    await track.recv()
            except MediaStreamError:
                return

        self.tasks.append(asyncio.create_task(consume()))


PEERS: dict[str, Peer] = {}


async def make(name: str, kinds: list[str], certificate: str) -> None:
    PEERS[name] = Peer(kinds, certificate)


async def offer(name: str) -> str:
    connection = PEERS[name].connection
    await connection.setLocalDescription(await connection.createOffer())
    return str(connection.localDescription.sdp)


async def answer(name: str, sdp: str) -> str:
    connection = PEERS[name].connection
    await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return str(connection.localDescription.sdp)


async def accept(name: str, sdp: str) -> None:
    await PEERS[name].connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))


async def stats(name: str) -> dict[str, Any]:
    connection = PEERS[name].connection
    found: dict[str, Any] = {"connection": connection.connectionState, "ice": connection.iceConnectionState}
    for entry in (await connection.getStats()).values():
        if entry.type == "inbound-rtp":
            found[f"in_{entry.kind}"] = {"packets": entry.packetsReceived, "lost": entry.packetsLost}
        elif entry.type == "outbound-rtp":
            found[f"out_{entry.kind}"] = {"packets": entry.packetsSent}
        elif entry.type == "transport":
            found["dtls"] = entry.dtlsState
    return found


async def say(name: str, text: str) -> None:
    peer = PEERS[name]
    await peer.opened.wait()
    assert peer.channel is not None
    peer.channel.send(text)


async def heard(name: str) -> list[str]:
    return PEERS[name].heard


async def close(name: str) -> None:
    peer = PEERS.pop(name)
    await peer.connection.close()
    for task in peer.tasks:
        task.cancel()


FUNCTIONS = {function.__name__: function for function in (make, offer, answer, accept, stats, say, heard, close)}


async def _serve() -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        function, arguments = json.loads(line)
        try:
            reply = {"value": await FUNCTIONS[function](*arguments)}
        except Exception as error:
            reply = {"error": repr(error)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    with patch.object(RTCDtlsTransport, "_write_ssl", write_whole_records):
        asyncio.run(_serve())
