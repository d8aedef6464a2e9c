"""Kamailio's stock rtpengine module over every transport it speaks.

caller ---- SIP ---- Kamailio ---- SIP ---- called
(socket)               |                   (socket)
                       | ng over UDP, UDP over IPv6, WebSocket, secure WebSocket
                    rtprelay
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.harness.polling import until
from tests.e2e.harness.programs import Program
from tests.interop.transports.daemon import Daemon
from tools.netns import unused_udp_port

CONFIG = Path(__file__).with_name("kamailio.cfg")
MODULES = ("/usr/lib/x86_64-linux-gnu/kamailio/modules/lwsc.so", "/usr/lib/aarch64-linux-gnu/kamailio/modules/lwsc.so")

pytestmark = pytest.mark.skipif(
    shutil.which("kamailio") is None or not any(map(os.path.exists, MODULES)),
    reason="kamailio or kamailio-lwsc-modules is not installed (see `make test`)",
)


class Agent:
    """Half of a call, over one UDP socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.port = self.socket.getsockname()[1]
        self._proxy = ("127.0.0.1", port)

    def send(self, first_line: str, header: list[str], media_port: int | None) -> None:
        sdp = ""
        if media_port is not None:
            lines = [
                "v=0",
                "o=- 1 1 IN IP4 127.0.0.1",
                "s=-",
                "c=IN IP4 127.0.0.1",
                "t=0 0",
                f"m=audio {media_port} RTP/AVP 8",
            ]
            sdp = "\r\n".join([*lines, ""])
            header = [*header, "Content-Type: application/sdp"]
        lines = [first_line, *header, f"Content-Length: {len(sdp)}", "", sdp]
        self.socket.sendto("\r\n".join(lines).encode(), self._proxy)

    def get(self, beginning: str) -> str:
        """The next message that begins so."""
        while not (message := self.socket.recv(65536).decode()).startswith(beginning):
            pass
        return message


def media_port(message: str) -> int:
    match = re.search(r"^m=audio (\d+) ", message, re.MULTILINE)
    assert match is not None, message
    return int(match[1])


def header_of(message: str, *names: str) -> list[str]:
    head = message.partition("\r\n\r\n")[0].split("\r\n")[1:]
    return [line for line in head if line.partition(":")[0] in names]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("relay"), addresses=("127.0.0.1", "[::1]"))
    yield daemon
    daemon.program.end()


@pytest.mark.parametrize("transport", ["udp", "udp6", "ws", "wss"])
def test_a_call_is_set_up_and_ended(relay: Daemon, tmp_path: Path, transport: str) -> None:
    kind, family = {"udp": ("ng", 4), "udp6": ("ng", 6), "ws": ("http", 4), "wss": ("https", 4)}[transport]
    endpoint = relay.at(kind, family)
    node = f"{transport}://{endpoint}/" if transport.startswith("ws") else f"{transport}:{endpoint}"
    port = unused_udp_port("127.0.0.1")
    with ExitStack() as stack:
        caller, called = Agent(port), Agent(port)
        for agent in (caller, called):
            stack.callback(agent.socket.close)
        kamailio = stack.enter_context(
            Program(
                [
                    *("kamailio", "-DD", "-E", "-f", str(CONFIG), "-Y", str(tmp_path), "-w", str(tmp_path), "-m", "64"),
                    *("-A", f'RELAY="{node}"', "-A", f"UAS={called.port}", "-l", f"udp:127.0.0.1:{port}"),
                ],
                log=tmp_path / "kamailio.log",
                env={"SSL_CERT_FILE": str(relay.authority.certificate)},
            )
        )
        dialog = ["From: <sip:a@a.example>;tag=a", f"Call-ID: {transport}@a.example", "Max-Forwards: 9"]
        via = f"Via: SIP/2.0/UDP 127.0.0.1:{caller.port};branch=z9hG4bK"

        def invited() -> str:
            """Again, as SIP does, until Kamailio has come up."""
            caller.send(
                f"INVITE sip:b@127.0.0.1:{port} SIP/2.0",
                [via + "1", *dialog, "To: <sip:b@b.example>", "CSeq: 1 INVITE"],
                4000,
            )
            called.socket.settimeout(1)
            try:
                return called.get("INVITE")
            except TimeoutError:
                assert kamailio.running, kamailio.text
                return ""

        invite = until(invited, "an INVITE behind Kamailio", 30)
        assert 20000 <= media_port(invite) <= 29999, kamailio.text
        called.socket.settimeout(10)
        called.send(
            "SIP/2.0 200 OK",
            [*header_of(invite, "Via", "From", "Call-ID", "CSeq", "Record-Route"), "To: <sip:b@b.example>;tag=b"],
            4002,
        )
        answer = caller.get("SIP/2.0 200")
        assert 20000 <= media_port(answer) <= 29999, kamailio.text
        assert media_port(answer) != media_port(invite)
        caller.send(
            f"BYE sip:b@127.0.0.1:{port} SIP/2.0",
            [via + "2", *dialog, "To: <sip:b@b.example>;tag=b", "CSeq: 2 BYE"],
            None,
        )
        called.get("BYE")
        with socket.create_connection((relay.at("cli").address, relay.at("cli").port), 10) as console:
            console.sendall(b"list numsessions\n")
            assert console.makefile().readline() == "Current sessions own: 0\n"
