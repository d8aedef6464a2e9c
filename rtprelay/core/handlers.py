"""What each ng command does. A handler emits exactly one Reply, or raises RelayError, which becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rtprelay.call.call import Call, Party
from rtprelay.core.effects import Effect, ReadFlows, Reply
from rtprelay.core.expiry import schedule
from rtprelay.core.mutation import Attempt, mutate
from rtprelay.core.registry import Registry
from rtprelay.core.totals import EndReason
from rtprelay.core.views import query, statistics
from rtprelay.errors import OurFault, PeerFault, UnknownCall
from rtprelay.negotiate.context import Context, close_ports
from rtprelay.negotiate.offer_answer import answer, offer
from rtprelay.negotiate.pubsub import publish, subscribe_answer, subscribe_request
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body, Command, CommandName, Request
from rtprelay.values import CallId, Tag

MAX_SUBSCRIBERS = 256
"""Of one source: what a fan-out group holds."""
SESSION_LIMIT = "Parallel session limit reached"
"""Kamailio and OpenSIPS compare this text to fail over to another node."""
UNKNOWN_DELETE = "Call-ID not found or tags didn't match"

Handler = Callable[[Registry, Request, float], Attempt | None]


def _ping(registry: Registry, request: Request, now: float) -> None:
    registry.emit(Reply(request.request_id, reply.pong()))


def _offer(registry: Registry, request: Request, now: float) -> Attempt | None:
    command = request.command
    if _full(registry, command):
        registry.totals.ended[EndReason.REJECTED] += 1
        if "load limit" in command.supports:
            registry.emit(Reply(request.request_id, reply.load_limit(SESSION_LIMIT)))
            return None
        raise OurFault(SESSION_LIMIT)

    def change(call: Call, command: Command, context: Context) -> Body:
        return reply.ok(sdp=offer(call, command, context))

    return mutate(registry, request, command.call_id, change, now)


def _answer(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        return reply.ok(sdp=answer(call, command, context))

    return mutate(registry, request, request.command.call_id, change, now)


def _publish(registry: Registry, request: Request, now: float) -> Attempt | None:
    if _full(registry, request.command):
        raise OurFault(SESSION_LIMIT)
    given = request.command
    call_id = given.call_id or CallId(_made_up(registry))
    from_tag = given.from_tag or Tag(_made_up(registry))

    def change(call: Call, command: Command, context: Context) -> Body:
        sdp = publish(call, from_tag, command, context)
        return reply.ok(sdp=sdp, call_id=call_id, from_tag=from_tag)

    return mutate(registry, request, call_id, change, now)


def _subscribe_request(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        sources = _sources(call, command)
        subscriber, sdp = subscribe_request(call, sources, command, context)
        if any(_audience(call, source) > MAX_SUBSCRIBERS for source in sources):
            raise OurFault(f"Too many subscribers: a source has {MAX_SUBSCRIBERS} at most")
        tags = [str(source.tag) for source in sources]
        single = tags[0] if len(tags) == 1 else None
        return reply.ok(sdp=sdp, from_tags=tags, from_tag=single, to_tag=str(subscriber.tag))

    return mutate(registry, request, request.command.call_id, change, now)


def _subscribe_answer(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        subscribe_answer(_subscriber(call, command.to_tag), command, context)
        return reply.ok()

    return mutate(registry, request, request.command.call_id, change, now)


def _unsubscribe(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        _remove(call, _subscriber(call, command.to_tag), context)
        return reply.ok()

    return mutate(registry, request, request.command.call_id, change, now)


def _delete(registry: Registry, request: Request, now: float) -> Attempt | None:
    command = request.command
    call = registry.calls.get(command.call_id)
    if call is None or not _tags_match(call, command):
        if command.fatal:
            raise UnknownCall(UNKNOWN_DELETE)
        registry.emit(Reply(request.request_id, reply.warning(UNKNOWN_DELETE)))
        return None
    branch = _lone_branch(call, command)
    if branch is not None:

        def change(call: Call, command: Command, context: Context) -> Body:
            _remove(call, call.parties[branch.number], context)
            return reply.ok()

        return mutate(registry, request, command.call_id, change, now)

    def finish() -> Iterable[Effect]:
        body = query(registry, call)
        delay = registry.settings.delete_delay if command.delete_delay is None else float(command.delete_delay)
        if delay <= 0:
            return (*registry.end(call, EndReason.REGULAR, now), Reply(request.request_id, body))
        call.delete_at = registry.wall(now) + delay
        schedule(registry, call)
        return (registry.persist(call), Reply(request.request_id, body))

    registry.emit(ReadFlows(tuple(registry.tables[call.call_id])))
    registry.later(finish)
    return None


def _query(registry: Registry, request: Request, now: float) -> None:
    call = _known(registry, request.command.call_id)
    registry.emit(ReadFlows(tuple(registry.tables[call.call_id])))
    registry.later(lambda: (Reply(request.request_id, query(registry, call)),))


def _list(registry: Registry, request: Request, now: float) -> None:
    limit = request.command.limit
    calls = [str(call_id) for call_id, _ in zip(registry.calls, range(limit), strict=False)]
    registry.emit(Reply(request.request_id, reply.ok(calls=calls)))


def _statistics(registry: Registry, request: Request, now: float) -> None:
    registry.emit(Reply(request.request_id, statistics(registry, now)))


HANDLERS: dict[CommandName, Handler] = {
    CommandName.PING: _ping,
    CommandName.OFFER: _offer,
    CommandName.ANSWER: _answer,
    CommandName.DELETE: _delete,
    CommandName.QUERY: _query,
    CommandName.LIST: _list,
    CommandName.STATISTICS: _statistics,
    CommandName.PUBLISH: _publish,
    CommandName.SUBSCRIBE_REQUEST: _subscribe_request,
    CommandName.SUBSCRIBE_ANSWER: _subscribe_answer,
    CommandName.UNSUBSCRIBE: _unsubscribe,
}


def _known(registry: Registry, call_id: CallId) -> Call:
    call = registry.calls.get(call_id)
    if call is None:
        raise UnknownCall
    return call


def _full(registry: Registry, command: Command) -> bool:
    limit = registry.settings.max_sessions
    return 0 <= limit <= len(registry.calls) and command.call_id not in registry.calls


def _made_up(registry: Registry) -> str:
    return f"{registry.random.getrandbits(128):032x}"


def _sources(call: Call, command: Command) -> list[Party]:
    """The parties a subscription names: by from-tags, one from-tag, a label, or all that send of their own."""
    senders = [party for party in call.parties.values() if not party.subscriber]
    tags = command.from_tags or ((command.from_tag,) if command.from_tag else ())
    if tags:
        found = {party.tag: party for party in senders if party.tag}
        for tag in tags:
            if tag not in found:
                raise PeerFault(f"Unknown from-tag {tag!r}")
        return [found[tag] for tag in tags]
    if command.flags.label is not None:
        senders = [party for party in senders if party.label == command.flags.label]
    elif not command.all_tags:
        raise PeerFault("No from-tag, label or 'all' in message: nobody to subscribe to")
    if not senders:
        raise PeerFault("Nobody to subscribe to")
    return senders


def _audience(call: Call, source: Party) -> int:
    return max(
        (
            sum(1 for s in call.subscriptions if (s.source.party, s.source.index) == (source.number, media.index))
            for media in source.medias
        ),
        default=0,
    )


def _subscriber(call: Call, tag: Tag) -> Party:
    party = call.party_by_tag(tag)
    if party is None or not party.subscriber:
        raise PeerFault("Unknown to-tag")
    return party


def _remove(call: Call, party: Party, context: Context) -> None:
    for media in party.medias:
        close_ports(media, context)
    call.remove_party(party)


def _tags_match(call: Call, command: Command) -> bool:
    """Tags given must be the call's; a to-tag may be missing, or be one that never answered."""
    tags = {party.tag for party in call.parties.values()}
    return not command.from_tag or command.from_tag in tags or command.to_tag in tags


def _lone_branch(call: Call, command: Command) -> Party | None:
    """The branch a delete is about, where others of the call live on."""
    if not command.via_branch:
        return None
    offered = [party for party in call.parties.values() if party.offered_by is not None]
    branch = [party for party in offered if party.via_branch == command.via_branch]
    return branch[0] if len(branch) == 1 and len(offered) > 1 else None
