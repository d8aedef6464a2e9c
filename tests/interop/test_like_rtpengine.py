"""The same requests to Debian's rtpengine (10.5) and to ours: what deployments rely on must come back alike.

conversation --ng/UDP--> rtpengine   --+
             --ng------> ours (core) --+--> likeness --> equal, or a difference docs/compatibility.md explains
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conversations import CONVERSATIONS, Conversation
from tests.interop.likeness import Likeness
from tests.interop.ours import Ours
from tests.interop.reference import PROGRAM, Reference, installed, running

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"

pytestmark = pytest.mark.skipif(not installed(), reason=f"{PROGRAM} is not installed (apt: rtpengine-daemon)")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    with running(tmp_path_factory.mktemp("reference") / "rtpengine.log") as daemon:
        yield daemon


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
def test_ours_answers_like_rtpengine(conversation: Conversation, reference: Reference) -> None:
    ours, mine, theirs = Ours(), Likeness(), Likeness()
    calls = {step.request.get("call-id", "") for step in conversation.steps}
    try:
        for number, step in enumerate(conversation.steps, 1):
            one = mine.of(step.request, ours.ask(step.request))
            other = theirs.of(step.request, reference.ask(step.request))
            if step.differs:
                assert one != other, f"step {number} is alike by now: {step.differs!r} can go"
            else:
                assert one == other, f"step {number}: {step.request}"
    finally:
        _forget(reference, calls)


def _forget(reference: Reference, calls: set[Any]) -> None:
    for call in calls:
        reference.ask({"command": "delete", "call-id": call, "delete-delay": 0})


def test_every_difference_is_explained() -> None:
    headings = {line.lstrip("# ") for line in DOCUMENT.read_text().splitlines() if line.startswith("###")}
    used = {step.differs for conversation in CONVERSATIONS for step in conversation.steps if step.differs}
    assert used <= headings
