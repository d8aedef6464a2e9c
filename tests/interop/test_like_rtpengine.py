"""The same requests to Debian's rtpengine (10.5) and to ours: what deployments rely on must come back alike.

conversation --ng/UDP--> rtpengine                       --+
             --ng------> ours, as core and as a program  --+--> likeness --> equal, or a difference that
                                                                docs/compatibility.md explains
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.interop.conversations import CONVERSATIONS
from tests.interop.daemons import OURS, RTPENGINE, Daemon, installed, running
from tests.interop.likeness import EVERYWHERE, Likeness
from tests.interop.ours import Ours
from tests.interop.script import Conversation, delete, offer

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

pytestmark = pytest.mark.skipif(not installed(), reason=f"{RTPENGINE} is not installed (apt: rtpengine-daemon)")


class Relay(Protocol):
    def ask(self, request: dict[str, Any]) -> dict[str, Any]: ...


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running([RTPENGINE], tmp_path_factory.mktemp("theirs") / "log") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def our_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    state = tmp_path_factory.mktemp("ours")
    with running([*OURS, f"--state-dir={state / 'state'}"], state / "log") as daemon:
        yield daemon


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_the_core_answers_like_rtpengine(conversation: Conversation, theirs: Daemon) -> None:
    _compare(conversation, Ours(), theirs)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_the_program_answers_like_rtpengine(conversation: Conversation, our_program: Daemon, theirs: Daemon) -> None:
    _compare(conversation, our_program, theirs)


def _compare(conversation: Conversation, ours: Relay, theirs: Relay) -> None:
    mine, yours = Likeness(), Likeness()
    calls = {step.request.get("call-id", "") for step in conversation.steps}
    try:
        for number, step in enumerate(conversation.steps, 1):
            one = mine.of(step.request, ours.ask(step.request))
            other = yours.of(step.request, theirs.ask(step.request))
            if step.differs:
                assert one != other, f"step {number} is alike by now: {step.differs!r} can go"
            else:
                assert one == other, f"step {number}: {step.request}"
    finally:
        for relay in (ours, theirs):
            for call in calls:
                relay.ask({"command": "delete", "call-id": call, "delete-delay": 0})


@pytest.mark.parametrize("heading", EVERYWHERE)
def test_what_is_overlooked_everywhere_still_differs(heading: str, theirs: Daemon) -> None:
    """In the offer of ICE and keys to a party on an interface with two addresses."""
    step = offer(transport_protocol="RTP/SAVPF", ICE="force")
    others = {name: usual for name, usual in EVERYWHERE.items() if name != heading}
    try:
        one = Likeness(others).of(step.request, Ours().ask(step.request))
        other = Likeness(others).of(step.request, theirs.ask(step.request))
    finally:
        theirs.ask(delete().request)
    assert one != other, f"{heading!r} can go"


def test_every_difference_is_explained_and_every_explanation_used() -> None:
    text = DOCUMENT.read_text()
    replies = text[text.index("\n## Replies") : text.index("\n## Media")]
    headings = {line.lstrip("# ") for line in replies.splitlines() if line.startswith("###")}
    used = {step.differs for conversation in CONVERSATIONS for step in conversation.steps if step.differs}
    assert used | set(EVERYWHERE) == headings


def test_there_is_plenty_to_compare() -> None:
    names = [conversation.name for conversation in CONVERSATIONS]
    assert len(names) == len(set(names)) >= 250
