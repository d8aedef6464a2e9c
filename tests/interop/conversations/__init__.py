"""What proxies say to a relay: sequences of requests, told to rtpengine and to ours alike."""

from __future__ import annotations

from tests.interop.conversations.addressing import CONVERSATIONS as ADDRESSING
from tests.interop.conversations.errors import CONVERSATIONS as ERRORS
from tests.interop.conversations.hold import CONVERSATIONS as HOLD
from tests.interop.conversations.identification import CONVERSATIONS as IDENTIFICATION
from tests.interop.conversations.muxing import CONVERSATIONS as MUXING
from tests.interop.conversations.publishing import CONVERSATIONS as PUBLISHING
from tests.interop.conversations.sections import CONVERSATIONS as SECTIONS

CONVERSATIONS = (
    *ADDRESSING,
    *ERRORS,
    *HOLD,
    *IDENTIFICATION,
    *MUXING,
    *PUBLISHING,
    *SECTIONS,
)
