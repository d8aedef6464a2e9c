"""A lab with a relay and a proxy in it, and the phones that call each other through them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.harness import sdp
from tests.e2e.harness.kamailio import Kamailio
from tests.e2e.harness.lab import Lab, Site, loopback_lab, veth_lab
from tests.e2e.harness.polling import until
from tests.e2e.harness.relay import BPFFS, Relay
from tests.e2e.harness.rtp import Address, Party, exchange, talk_until_heard
from tests.e2e.harness.sipp import Message, Sipp
from tests.e2e.ng import NgClient
from tools.bencode import Value
from tools.netns import run


@dataclass
class Call:
    """An established call: which socket talks to which relay port."""

    relay: Relay
    call_id: str
    a: Party
    a_target: Address
    b: Party
    b_target: Address

    @property
    def directions(self) -> tuple[tuple[Party, Address], tuple[Party, Address]]:
        """Who sends where."""
        return (self.a, self.a_target), (self.b, self.b_target)

    def forget(self) -> None:
        self.a.forget()
        self.b.forget()

    def close(self) -> None:
        self.a.close()
        self.b.close()

    def find_each_other(self, seconds: float = 10.0) -> None:
        """Talk until both are heard, as long as it takes: learning, a changed network."""
        talk_until_heard(self.a, self.a_target, self.b, self.b_target, seconds)

    def talk(self, count: int = 50, *, symmetric: bool = True) -> None:
        """Both parties are where the relay expects them: all is heard, and the kernel forwards it alone."""
        with self.relay.reading_at_most(0):
            exchange(self.a, self.a_target, self.b, self.b_target, count, symmetric=symmetric)


@dataclass
class Phones:
    """A caller and the callees registered under one name, each with a media socket."""

    stage: Stage
    caller: Sipp
    callees: list[Sipp]
    a: Party
    b: list[Party]
    advertised: str
    """The address the caller writes into its SDP."""

    @property
    def callee(self) -> Sipp:
        return self.callees[0]

    def offer(self, direction: str = "sendrecv", version: int = 1, address: str | None = None) -> str:
        return sdp.describe(address or self.advertised, [self.a.port], direction=direction, version=version)

    def answer(self, which: int = 0, direction: str = "sendrecv", version: int = 1) -> str:
        party = self.b[which]
        return sdp.describe(party.address, [party.port], direction=direction, version=version)

    def ring(self, call_id: str) -> list[Message]:
        """Send the INVITE; what each callee got."""
        self.caller.tell(call_id, "invite", self.offer())
        return [callee.gets(call_id, "INVITE") for callee in self.callees]

    def establish(self, call_id: str) -> Call:
        invite = self.ring(call_id)[0]
        self.callee.tell(call_id, "answer", self.answer())
        return self.media(call_id, invite, self.caller.gets(call_id, "200 INVITE"))

    def media(self, call_id: str, offered: Message, answered: Message, which: int = 0) -> Call:
        """The call as its INVITE and the response with an SDP make it."""
        a_target, b_target = sdp.section(answered.body).rtp, sdp.section(offered.body).rtp
        return Call(self.stage.relay, call_id, self.a, a_target, self.b[which], b_target)

    def renegotiate(self, call_id: str, number: int, offer: str, answer: str) -> tuple[Message, Message]:
        """The `number`-th INVITE of the call: what the callee was offered and what the caller was answered."""
        self.caller.tell(call_id, "reinvite", offer)
        offered = self.callee.gets(call_id, "INVITE", number)
        self.callee.tell(call_id, "answer", answer)
        answered = self.caller.gets(call_id, "200 INVITE", number)
        self.callee.gets(call_id, "ACK", number)
        return offered, answered

    def hang_up(self, call_id: str) -> None:
        """BYE, after which the relay knows nothing of the call."""
        self.caller.tell(call_id, "bye")
        self.caller.gets(call_id, "200 BYE")
        self.stage.assert_gone(call_id)


@dataclass
class Stage:
    """One lab with one kind of relay, for all tests of a session."""

    lab: Lab
    relay: Relay
    workdir: Path
    _proxies: dict[tuple[str, ...], Kamailio] = field(default_factory=dict)
    _serial: Iterator[int] = field(default_factory=itertools.count)

    def proxy(self, *defines: str) -> Kamailio:
        """Kamailio with these variants of its configuration on."""
        if defines not in self._proxies:
            self._proxies[defines] = Kamailio(self.lab, self.workdir, 5060 + len(self._proxies), defines)
        return self._proxies[defines]

    def party(self, site: Site, family: int = 4) -> Party:
        return Party(site.namespace, site.address(family))

    @contextmanager
    def phones(
        self,
        *defines: str,
        families: tuple[int, int] = (4, 4),
        callees: int = 1,
        scenario: str = "caller",
        advertised: str | None = None,
    ) -> Iterator[Phones]:
        """`families`: IP versions of caller and callees; `advertised`: what the caller claims to be its address."""
        proxy = self.proxy(*defines)
        west, east = families
        user = f"bob{next(self._serial)}"
        with ExitStack() as stack:
            agents = []
            for _ in range(callees):
                port = 7000 + next(self._serial)
                agents.append(stack.enter_context(Sipp("callee", self.lab.callee, port, self.workdir, family=east)))
                proxy.register(user, self.lab.callee, port, east)
            target = (proxy.address(west), proxy.port)
            port = 7000 + next(self._serial)
            caller = stack.enter_context(
                Sipp(scenario, self.lab.caller, port, self.workdir, family=west, target=target, user=user)
            )
            a = stack.enter_context(self.party(self.lab.caller, west))
            b = [stack.enter_context(self.party(self.lab.callee, east)) for _ in agents]
            yield Phones(self, caller, agents, a, b, advertised or a.address)

    def call_over_ng(
        self, ng: NgClient, call_id: str, a: Party | None = None, b: Party | None = None, **keys: Value
    ) -> Call:
        """A call without SIP: offer and answer by ng alone, `keys` in both. `close` it, with parties made for it."""
        a, b = a or self.party(self.lab.caller), b or self.party(self.lab.callee)
        offered = ng.offer(call_id, f"{call_id}-a", sdp.describe(a.address, [a.port]), **keys)
        answered = ng.answer(call_id, f"{call_id}-a", f"{call_id}-b", sdp.describe(b.address, [b.port]), **keys)
        return Call(self.relay, call_id, a, sdp.section(answered.sdp).rtp, b, sdp.section(offered.sdp).rtp)

    def assert_gone(self, call_id: str) -> None:
        with self.relay.client() as ng:
            until(lambda: not ng.knows(call_id), f"the relay to forget {call_id}")
            assert call_id not in ng.calls()

    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.stop()


@contextmanager
def open_stage(
    kind: str,
    workdir: Path,
    *options: str,
    ports: tuple[int, int] = (30000, 39999),
    sides: tuple[str, ...] = ("west", "east"),
    open_files: int | None = None,
) -> Iterator[Stage]:
    """A lab for this kind of relay and the relay running in it, with more options if a test needs them."""
    _let_everybody_in(workdir)
    if kind in ("ebpf", "tc") and not os.path.ismount(BPFFS):
        run("mount", "-t", "bpf", "bpf", str(BPFFS))
    with loopback_lab() if kind in ("tc", "rtpengine-lo") else veth_lab() as lab:
        relay = Relay(lab, kind, workdir, options, ports, sides, open_files)
        stage = Stage(lab, relay, workdir)
        try:
            relay.start()
            yield stage
        finally:
            stage.close()
            relay.flush()


def _let_everybody_in(directory: Path) -> None:
    """Kamailio and the unprivileged relay run as nobody; pytest keeps its directories to itself."""
    for path in (directory, *directory.parents[:2]):
        path.chmod(path.stat().st_mode | 0o055)
