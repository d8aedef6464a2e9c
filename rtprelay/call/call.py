"""The call: its parties, and who gets whose media. Pure state, serialisable as it stands."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from rtprelay.call.media import Media
from rtprelay.values import CallId, Counts, Endpoint, Tag


class SubscriptionKind(enum.Enum):
    OFFER_ANSWER = "offer/answer"
    PUB_SUB = "pub/sub"


class Echo(enum.Enum):
    """`media-echo`."""

    NOWHERE = "nowhere"
    BACK = "back"


class MediaKey(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Names one media of the call: the party's number and the m-line's index."""

    party: int
    index: int


class Subscription(msgspec.Struct, array_like=True, gc=False):
    """`sink` gets what `source` sends. `ssrc` None: under the sender's own SSRC."""

    source: MediaKey
    sink: MediaKey
    kind: SubscriptionKind
    ssrc: int | None = None
    blocked: bool = False


class SentSdp(msgspec.Struct, array_like=True, gc=False):
    """What a party has been shown of a session: `replace` keeps it the same whoever is on the other side."""

    username: str
    session_id: str
    session_name: str
    version: int
    """Of the o= line, growing with every change (RFC 3264 section 8)."""
    digest: int = 0
    """Of the SDP that `version` stood for."""


class Party(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One participant (a monologue, in rtpengine's words)."""

    number: int
    tag: Tag
    """Empty while the party has been offered to, but has not answered."""
    created: float
    """Seconds since the epoch."""
    via_branch: str = ""
    label: str | None = None
    metadata: str | None = None
    offered_by: int | None = None
    """Number of the party whose offer made this one."""
    blocked: bool = False
    """Nothing it sends reaches anybody."""
    silenced: bool = False
    """What it sends arrives as silence."""
    dtmf_blocked: bool = False
    """Its telephone-events (RFC 4733) reach nobody."""
    echo: Echo | None = None
    """Where what it sends goes instead of to its partner."""
    echo_ssrc: int = 0
    """Of its first section's echo; the others count on from there."""
    forwarding: bool = False
    """Noted for whoever taps the call; no tap is part of the relay yet."""
    publisher: bool = False
    subscriber: bool = False
    medias: list[Media] = []
    bundles_wanted: tuple[tuple[int, ...], ...] = ()
    """The sections its pending offer has in each BUNDLE group (RFC 9143)."""
    bundles_proposed: tuple[tuple[int, ...], ...] = ()
    """The sections our pending offer to it has in each."""
    sent: SentSdp | None = None

    def carrier(self, media: Media) -> Media:
        """The media whose port, path and keys this one uses: itself, unless it is bundled."""
        return media if media.transport is None else self.medias[media.transport]


class Call(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A call: all that has one call-id. Times are seconds since the epoch, so that they outlive a restart."""

    call_id: CallId
    created: float
    last_signal: float
    parties: dict[int, Party] = {}
    subscriptions: list[Subscription] = []
    next_party: int = 1
    answered: bool = False
    """Some answer, or a publisher, has been seen: the offer timeout no longer applies."""
    tos: int | None = None
    """Asked for with the last offer or its answer, for all of the call; None: the operator's."""
    dropped: bool = False
    """Nothing that is sent reaches anybody (`drop-traffic`)."""
    aliases: tuple[CallId, ...] = ()
    """Call-ids of calls that have been merged into this one."""
    delete_at: float | None = None
    """The call has been deleted and lives on till then (delete delay)."""
    retired_rtp: Counts = Counts()
    """What those of its ports had received that it has no more."""
    retired_rtcp: Counts = Counts()

    def add_party(self, tag: Tag, created: float) -> Party:
        party = Party(number=self.next_party, tag=tag, created=created)
        self.parties[party.number] = party
        self.next_party += 1
        return party

    def remove_party(self, party: Party) -> None:
        del self.parties[party.number]
        self.subscriptions = [
            s for s in self.subscriptions if s.source.party != party.number and s.sink.party != party.number
        ]

    def party_by_tag(self, tag: Tag) -> Party | None:
        return next((p for p in self.parties.values() if p.tag == tag), None) if tag else None

    def media(self, key: MediaKey) -> Media | None:
        party = self.parties.get(key.party)
        if party is None or key.index >= len(party.medias):
            return None
        return party.medias[key.index]

    def medias(self) -> Iterator[tuple[Party, Media]]:
        for party in self.parties.values():
            for media in party.medias:
                yield party, media

    def partner(self, party: Party) -> Party | None:
        """The party that `party` is in an offer/answer dialogue with."""
        for s in self.subscriptions:
            if s.kind is SubscriptionKind.OFFER_ANSWER and s.sink.party == party.number:
                return self.parties.get(s.source.party)
        return None

    def connect(self, one: Party, other: Party) -> None:
        """Make the two partners of one dialogue: each m-line of the one feeds its counterpart. Former dialogues of both
        end.
        """
        pair = (one.number, other.number)
        blocked = {(s.source, s.sink) for s in self.subscriptions if s.blocked}
        self.subscriptions = [
            s
            for s in self.subscriptions
            if s.kind is not SubscriptionKind.OFFER_ANSWER or (s.source.party not in pair and s.sink.party not in pair)
        ]
        for index in range(min(len(one.medias), len(other.medias))):
            a, b = MediaKey(one.number, index), MediaKey(other.number, index)
            for way in ((a, b), (b, a)):
                self.subscriptions.append(Subscription(*way, SubscriptionKind.OFFER_ANSWER, blocked=way in blocked))

    def hear(self, source: Party, sink: Party, ssrcs: Iterator[int]) -> None:
        """`sink` hears `source` besides all that it hears already, under SSRCs of its own."""
        known = {(s.source, s.sink) for s in self.subscriptions}
        for ours, theirs in zip(source.medias, sink.medias, strict=False):
            keys = MediaKey(source.number, ours.index), MediaKey(sink.number, theirs.index)
            if keys not in known and ours.kind == theirs.kind:
                self.subscriptions.append(Subscription(*keys, SubscriptionKind.PUB_SUB, next(ssrcs)))

    def take_in(self, other: Call) -> int:
        """The parties of another call are this one's from now on; returns what their numbers have grown by."""
        shift = self.next_party - 1
        for party in other.parties.values():
            party.number += shift
            if party.offered_by is not None:
                party.offered_by += shift
            self.parties[party.number] = party
        for s in other.subscriptions:
            s.source = MediaKey(s.source.party + shift, s.source.index)
            s.sink = MediaKey(s.sink.party + shift, s.sink.index)
            self.subscriptions.append(s)
        self.next_party += other.next_party - 1
        self.answered = self.answered or other.answered
        self.aliases += (other.call_id, *other.aliases)
        self.retired_rtp += other.retired_rtp
        self.retired_rtcp += other.retired_rtcp
        return shift

    def local_endpoints(self) -> set[Endpoint]:
        """Every local port that belongs to the call."""
        ports: set[Endpoint] = set()
        for _, media in self.medias():
            ports.update(e for rtp in media.pairs for e in rtp.pair)
        return ports

    def agreed(self) -> Call | None:
        """The call as it goes on beside ports that an unanswered offer has opened; None: there are none."""
        if not [media for party in self.parties.values() for media in party.medias if media.former is not None]:
            return None
        parties = {
            number: msgspec.structs.replace(party, medias=[media.former or media for media in party.medias])
            for number, party in self.parties.items()
        }
        return msgspec.structs.replace(self, parties=parties)
