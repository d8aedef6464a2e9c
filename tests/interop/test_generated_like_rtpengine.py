"""Conversations that hypothesis makes up, told to Debian's rtpengine and to ours.

descriptions, options --ng/UDP--> rtpengine --+
                      --ng------> our core  --+--> likeness --> equal
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interop.daemons import RTPENGINE, Daemon, installed, running
from tests.interop.generated import answers, descriptions, options
from tests.interop.likeness import Likeness
from tests.interop.ours import Ours

pytestmark = pytest.mark.skipif(not installed(), reason=f"{RTPENGINE} is not installed (apt: rtpengine-daemon)")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running([RTPENGINE], tmp_path_factory.mktemp("theirs") / "log") as daemon:
        yield daemon


class Pair:
    """Both relays, asked the same."""

    def __init__(self, theirs: Daemon) -> None:
        self._relays = (Ours(), theirs)
        self._likes = (Likeness(), Likeness())

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        """Our reply, if the other one is like it."""
        whole = {"command": command, "call-id": "generated", **request}
        replies = [relay.ask(whole) for relay in self._relays]
        one, other = (like.of(whole, reply) for like, reply in zip(self._likes, replies, strict=True))
        assert one == other, whole
        return replies[0]


def converse(theirs: Daemon, data: st.DataObject) -> None:
    pair = Pair(theirs)
    said = data.draw(options(offering=True))
    dialogue = {"from-tag": "a", **({"via-branch": said["via-branch"]} if "via-branch" in said else {})}
    try:
        shown = pair.ask("offer", **{**said, **dialogue, "sdp": data.draw(descriptions())})["sdp"]
        answered = {**data.draw(options(offering=False)), **dialogue, "to-tag": "b", "sdp": data.draw(answers(shown))}
        pair.ask("answer", **answered)
    finally:
        theirs.ask({"command": "delete", "call-id": "generated", "delete-delay": 0})


def check(theirs: Daemon, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples < 1000,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.data())
    def told(data: st.DataObject) -> None:
        converse(theirs, data)

    told()


def test_what_is_made_up_is_answered_like_rtpengine(theirs: Daemon) -> None:
    check(theirs, 150)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_much_more_that_is_made_up_is_answered_like_rtpengine(theirs: Daemon) -> None:
    check(theirs, 20_000)
