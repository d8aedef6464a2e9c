"""What proxies say to a relay: sequences of requests, told to rtpengine and to ours alike."""

from __future__ import annotations

from tests.interop.conversations import (
    addressing,
    bundling,
    codecs,
    commands,
    errors,
    hold,
    ice,
    identification,
    manipulation,
    muxing,
    publishing,
    sections,
    srtp,
)

CONVERSATIONS = (
    *identification.CONVERSATIONS,
    *addressing.CONVERSATIONS,
    *hold.CONVERSATIONS,
    *sections.CONVERSATIONS,
    *muxing.CONVERSATIONS,
    *bundling.CONVERSATIONS,
    *ice.CONVERSATIONS,
    *srtp.CONVERSATIONS,
    *codecs.CONVERSATIONS,
    *manipulation.CONVERSATIONS,
    *commands.CONVERSATIONS,
    *publishing.CONVERSATIONS,
    *errors.CONVERSATIONS,
)
