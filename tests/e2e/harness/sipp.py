"""sipp as a user agent that the test leads step by step.

Theory of operation: sipp's third-party call control lets a scenario wait for commands on a TCP connection
(`<recvCmd>`). The test is the controller: a command names the call by its Call-ID, says what to do and carries the SDP
to do it with, so sipp does the SIP (transactions, routes, retransmissions) and the test decides when and with which
media. What sipp sent and received is read back from its message log, whose records state their length.

sipp drops a command that comes before the scenario waits for it, so a test gives the next one when the effect of the
last has been seen.
"""

from __future__ import annotations

import re
import socket
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.e2e.harness.lab import Site
from tests.e2e.harness.polling import until
from tests.e2e.harness.programs import Program
from tests.e2e.harness.relay import ROOT

SCENARIOS = ROOT / "tests/e2e/scenarios"
_RECORD = re.compile(rb"^UDP message (?:sent \((\d+) bytes\)|received \[(\d+)\] bytes ):\n\n", re.MULTILINE)


@dataclass(frozen=True)
class Message:
    """One SIP message sipp sent or received."""

    sent: bool
    head: str
    body: str

    @property
    def start(self) -> str:
        return self.head.split("\n", 1)[0]

    @property
    def call_id(self) -> str:
        return self.field("Call-ID")

    @property
    def method(self) -> str:
        """Of the request, or of the one this answers."""
        return self.field("CSeq").split()[1]

    @property
    def code(self) -> int:
        """Of a response; 0: a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def kind(self) -> str:
        """ "INVITE" for a request, "200 INVITE" for the response to one."""
        return f"{self.code} {self.method}" if self.code else self.method

    def field(self, name: str) -> str:
        for line in self.head.split("\n"):
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        raise AssertionError(f"no {name} in {self.head}")

    def tag(self, name: str) -> str:
        """The tag of the From or To header."""
        found = re.search(r";tag=([^;\s]+)", self.field(name))
        assert found, self.head
        return found[1]


class Sipp:
    """One sipp process with a scenario from tests/e2e/scenarios, at one address of one party."""

    def __init__(
        self,
        scenario: str,
        site: Site,
        port: int,
        workdir: Path,
        *,
        family: int = 4,
        target: tuple[str, int] | None = None,
        user: str = "bob",
    ) -> None:
        self.site = site
        self.port = port
        self._log = workdir / f"{scenario}-{port}.messages"
        self._read = 0
        self._seen: defaultdict[str, list[Message]] = defaultdict(list)
        control_port = port + 1000
        address = site.address(family)
        argv = ["sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", address, "-p", str(port), "-nostdin"]
        argv += ["-trace_msg", "-message_file", str(self._log), "-message_overwrite", "false"]
        argv += ["-3pcc", f"127.0.0.1:{control_port}", "-s", user]
        if target:
            host = f"[{target[0]}]" if ":" in target[0] else target[0]
            argv.append(f"{host}:{target[1]}")
        self.program = Program(argv, log=workdir / f"{scenario}-{port}.log", namespace=site.namespace, cwd=workdir)
        until(lambda: self._connect(control_port), f"sipp {scenario} to listen")

    def _connect(self, port: int) -> bool:
        assert self.program.running, self.program.text[-3000:]
        self._control = self.site.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._control.connect(("127.0.0.1", port))
        except OSError:
            self._control.close()
            return False
        return True

    def tell(self, call_id: str, step: str, sdp: str = "") -> None:
        """A command for one call; ESC ends it (sipp's framing)."""
        self._control.sendall(f"Call-ID: {call_id}\r\nStep: {step}\r\n\r\n{sdp}\x1b".encode())

    def messages(self, call_id: str) -> list[Message]:
        """The SIP messages of a call so far, in the order they were sent and received."""
        data = b""
        if self._log.exists():
            with self._log.open("rb") as log:
                log.seek(self._read)
                data = log.read()
        at = 0
        while found := _RECORD.search(data, at):
            end = found.end() + int(found[1] or found[2])
            if end > len(data):
                break
            head, _, body = data[found.end() : end].decode().replace("\r\n", "\n").partition("\n\n")
            message = Message(sent=found[1] is not None, head=head, body=body)
            self._seen[message.call_id].append(message)
            at = end
        self._read += at
        return self._seen[call_id]

    def gets(self, call_id: str, what: str, number: int = 1, seconds: float = 10.0) -> Message:
        """Wait for the `number`-th request `what`, such as "INVITE", or response, such as "200 INVITE", of a call."""

        def matching() -> list[Message]:
            assert self.program.running, self.program.text[-3000:]
            return [message for message in self.messages(call_id) if not message.sent and what == message.kind]

        return self._await(matching, call_id, f"{what} (number {number})", number, seconds)

    def _await(
        self, matching: Callable[[], list[Message]], call_id: str, what: str, number: int, seconds: float
    ) -> Message:
        try:
            until(lambda: len(_distinct(matching())) >= number, what, seconds)
        except AssertionError as error:
            story = "\n".join(f"{'->' if message.sent else '<-'} {message.start}" for message in self.messages(call_id))
            raise AssertionError(f"{error} in call {call_id}; so far:\n{story}\n{self.program.text[-1500:]}") from None
        return _distinct(matching())[number - 1]

    def stop(self) -> None:
        self._control.close()
        self.program.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _distinct(messages: list[Message]) -> list[Message]:
    """Without retransmissions: a CSeq once from each side of a (forked) dialogue."""
    first: dict[tuple[str, str], Message] = {}
    for message in messages:
        first.setdefault((message.field("CSeq"), message.field("To")), message)
    return list(first.values())
