"""Where a call's CPU time goes in one process, stage by stage, without sockets and kernel: `python -m bench.stages`.

Messages are those of `bench.load`; each call has call-id, tags, ports, session ids and a caller's address of its own.
Calls go through a stage by the hundred, so that a stage is timed and not the clock; medians over the rounds.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import statistics
import time
from collections import defaultdict

from bench.ng import answer, delete, offer
from rtprelay.core.effects import ApplyFlows, ReadFlows, Reply
from rtprelay.core.relay import Relay
from rtprelay.core.settings import MediaInterface, Settings
from rtprelay.kernel.forwarder import UserspaceForwarder
from rtprelay.plan.flow import Capabilities
from rtprelay.signalling.command import Body, Request
from rtprelay.signalling.session import NgSession, Peer
from tools.bencode import Value, encode

_CALLS = 100
_STAGES = ("receive", "core", "reply")
_PEER = Peer(0, ("127.0.0.1", 5060))
_INTERFACES = (MediaInterface(name="a", address="10.0.1.1"), MediaInterface(name="b", address="10.0.2.1"))


class Bench:
    def __init__(self) -> None:
        settings = Settings(interfaces=_INTERFACES, delete_delay=0.0, port_quarantine=0.0)
        self._relay = Relay(settings, Capabilities(name="userspace"), random.Random(1), 1.7e9)
        self._forwarder = UserspaceForwarder()
        self._session = NgSession()
        self._numbers = itertools.count(1)
        self._cookies = itertools.count(1)
        self.seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def round(self) -> None:
        """Whole calls, a hundred at once."""
        numbers = list(itertools.islice(self._numbers, _CALLS))
        for name, commands in (
            ("offer", [_offer(number) for number in numbers]),
            ("answer", [_answer(number) for number in numbers]),
            ("delete", [delete(_call_id(number)) for number in numbers]),
        ):
            self._pass(name, [b"%d_1 %b" % (next(self._cookies), encode(command)) for command in commands])

    def _pass(self, name: str, messages: list[bytes]) -> None:
        now = float(next(self._cookies))
        clock = time.process_time
        began = clock()
        requests = [self._session.receive(message, _PEER, now) for message in messages]
        received = clock()
        bodies = [self._carry_out(request, now) for request in requests if isinstance(request, Request)]
        done = clock()
        for request_id, body in bodies:
            self._session.reply(request_id, body)
        replied = clock()
        assert [body["result"] for _, body in bodies] == ["ok"] * len(messages)
        for stage, seconds in zip(_STAGES, (received - began, done - received, replied - done), strict=True):
            self.seconds[name, stage].append(seconds / len(messages))

    def _carry_out(self, request: Request, now: float) -> tuple[int, Body]:
        relay, replied = self._relay, None
        relay.handle_command(request, now)
        while (effect := relay.next_effect()) is not None:
            if type(effect) is Reply:
                replied = effect
            elif type(effect) is ApplyFlows:
                for op in effect.ops:
                    self._forwarder.apply(op)
            elif type(effect) is ReadFlows:
                reports = [self._forwarder.report(local) for local in effect.locals]
                relay.handle_report([report for report in reports if report is not None], now)
        assert replied is not None
        return replied.request_id, replied.body


def _call_id(number: int) -> str:
    return f"call-{number:012d}@example"


def _offer(number: int) -> dict[str, Value]:
    caller = f"10.1.{number // 200 % 10}.{number % 200 + 1}"
    return _own(offer(_call_id(number), caller, 2 * number % 50000 + 4000), number)


def _answer(number: int) -> dict[str, Value]:
    return _own(answer(_call_id(number), "10.2.0.1", 2 * number % 50000 + 4002), number)


def _own(command: dict[str, Value], number: int) -> dict[str, Value]:
    """With a session id of its own in the SDP."""
    return {**command, "sdp": str(command["sdp"]).replace("3879102", str(3879102 + number))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    bench = Bench()
    gc.disable()
    for _ in range(options.rounds):
        bench.round()
    total = 0.0
    print(f"{'us':>8}" + "".join(f"{stage:>9}" for stage in _STAGES))
    for name in ("offer", "answer", "delete"):
        medians = [statistics.median(bench.seconds[name, stage]) * 1e6 for stage in _STAGES]
        total += sum(medians)
        print(f"{name:>8}" + "".join(f"{each:9.1f}" for each in medians))
    print(f"{'cycle':>8}{total:9.1f}")


if __name__ == "__main__":
    main()
