"""A running relay takes whatever comes to its control ports, and a call goes on meanwhile.

mutated ng/UDP, ng/TCP, HTTP, CLI ----> relay (a program, in userspace, on loopback)
A 127.0.0.1 <---- 50 packets/s each way ----> B 127.0.0.1
"""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.attack import attack

GROWTH = 64
"""MiB: caches of replies and names fill up, nothing else stays."""


def test_a_call_loses_nothing_while_every_control_port_is_attacked(tmp_path: Path) -> None:
    outcome = attack(2000, 1, tmp_path)
    assert outcome.sent > 0
    assert outcome.lost == 0
    assert outcome.after - outcome.before < GROWTH
