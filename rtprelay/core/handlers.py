"""What each ng command does. A handler emits exactly one Reply, or raises RelayError, which becomes one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from rtprelay.call.call import Call
from rtprelay.core import selection
from rtprelay.core.admission import SESSION_LIMIT
from rtprelay.core.call_view import query
from rtprelay.core.effects import Effect, ReadFlows, Reply
from rtprelay.core.expiry import schedule
from rtprelay.core.merge import merge
from rtprelay.core.mutation import Attempt, mutate
from rtprelay.core.muting import COMMANDS as MUTING
from rtprelay.core.muting import mute
from rtprelay.core.registry import Registry
from rtprelay.core.statistics_view import statistics
from rtprelay.core.totals import EndReason
from rtprelay.errors import OurFault, PeerFault, UnknownCall
from rtprelay.negotiate.branches import remove
from rtprelay.negotiate.context import Context
from rtprelay.negotiate.created import create, create_answer
from rtprelay.negotiate.offer_answer import answer, offer
from rtprelay.negotiate.pubsub import publish, subscribe_answer, subscribe_request
from rtprelay.negotiate.trickle import trickle
from rtprelay.signalling import reply
from rtprelay.signalling.command import Body, Command, CommandName, Request
from rtprelay.values import CallId, Tag

MAX_SUBSCRIBERS = 256
"""Of one source: what a fan-out group holds."""
MAX_DETAILED = 64
"""Media sections whose statistics fit into the reply to a delete."""
TOO_LARGE = "The call was too large for its statistics to be told"
UNKNOWN_DELETE = "Call-ID not found or tags didn't match"
T38_GATEWAY = frozenset({"T.38=force", "T.38=stop"})
"""What would turn audio into T.38 and back; T.38 itself passes through."""
UNKNOWN_SUBSCRIBER = "To-tag not found"

Handler = Callable[[Registry, Request, float], Attempt | None]


def _ping(registry: Registry, request: Request, now: float) -> None:
    registry.emit(Reply(request.request_id, reply.pong()))


def _offer(registry: Registry, request: Request, now: float) -> Attempt | None:
    command = request.command
    if command.flags.fragment:
        return _fragment(registry, request, now)
    gateway = sorted(command.flags.extra & T38_GATEWAY)
    if gateway:
        raise OurFault(f"Not supported yet: {gateway[0]} needs media processing this relay does not have")
    if not _admitted(registry, request):
        return None

    def change(call: Call, command: Command, context: Context) -> Body:
        return reply.ok(sdp=offer(call, command, context))

    return mutate(registry, request, command.call_id, change, now)


def _fragment(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        trickle(call, command, context)
        return reply.ok()

    return mutate(registry, request, request.command.call_id, change, now)


def _answer(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        return reply.ok(sdp=answer(call, command, context))

    return mutate(registry, request, request.command.call_id, change, now)


def _publish(registry: Registry, request: Request, now: float) -> Attempt | None:
    if not _admitted(registry, request):
        return None
    call_id, from_tag = _named(registry, request.command)

    def change(call: Call, command: Command, context: Context) -> Body:
        sdp = publish(call, from_tag, command, context)
        return reply.ok(call_id=call_id, from_tag=from_tag, sdp=sdp)

    return mutate(registry, request, call_id, change, now)


def _create(registry: Registry, request: Request, now: float) -> Attempt | None:
    if not _admitted(registry, request):
        return None
    call_id, from_tag = _named(registry, request.command)

    def change(call: Call, command: Command, context: Context) -> Body:
        return reply.ok(call_id=call_id, from_tag=from_tag, sdp=create(call, from_tag, command, context))

    return mutate(registry, request, call_id, change, now)


def _create_answer(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        party = call.party_by_tag(command.from_tag)
        if party is None:
            raise PeerFault("Unknown from-tag")
        create_answer(call, party, command, context)
        return reply.ok()

    return mutate(registry, request, request.command.call_id, change, now)


def _subscribe_request(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        sources = selection.sources(call, command)
        subscriber, sdp = subscribe_request(call, sources, command, context)
        if any(selection.audience(call, source) > MAX_SUBSCRIBERS for source in sources):
            raise OurFault(f"Too many subscribers: a source has {MAX_SUBSCRIBERS} at most")
        tags = [str(source.tag) for source in sources]
        single = tags[0] if len(tags) == 1 else None
        return reply.ok(sdp=sdp, from_tag=single, from_tags=tags, to_tag=str(subscriber.tag))

    return mutate(registry, request, request.command.call_id, change, now)


def _subscribe_answer(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)

    def change(call: Call, command: Command, context: Context) -> Body:
        party = selection.subscriber(call, command.to_tag)
        if party is None:
            raise PeerFault(UNKNOWN_SUBSCRIBER)
        subscribe_answer(party, command, context)
        return reply.ok()

    return mutate(registry, request, request.command.call_id, change, now)


def _unsubscribe(registry: Registry, request: Request, now: float) -> Attempt | None:
    call = _known(registry, request.command.call_id)
    if selection.subscriber(call, request.command.to_tag) is None:
        registry.emit(Reply(request.request_id, reply.warning(UNKNOWN_SUBSCRIBER)))
        return None

    def change(call: Call, command: Command, context: Context) -> Body:
        party = selection.subscriber(call, command.to_tag)
        if party is not None:
            remove(call, party, context)
        return reply.ok()

    return mutate(registry, request, request.command.call_id, change, now)


def _delete(registry: Registry, request: Request, now: float) -> Attempt | None:
    command = request.command
    call = registry.calls.get(command.call_id)
    branch = selection.to_delete(call, command) if call is not None else None
    if call is None or branch is None:
        if command.fatal:
            raise UnknownCall(UNKNOWN_DELETE)
        registry.emit(Reply(request.request_id, reply.warning(UNKNOWN_DELETE)))
        return None
    if branch:

        def change(call: Call, command: Command, context: Context) -> Body:
            for party in selection.to_delete(call, command) or ():
                remove(call, party, context)
            return reply.ok()

        return mutate(registry, request, command.call_id, change, now)

    def finish() -> Iterable[Effect]:
        body = _farewell(registry, call, command)
        delay = registry.settings.delete_delay if command.delete_delay is None else float(command.delete_delay)
        if delay <= 0:
            reason = EndReason.FORCED if command.forced else EndReason.REGULAR
            return (*registry.end(call, reason, now), Reply(request.request_id, body))
        deadline = registry.wall(now) + delay
        call.delete_at = min(call.delete_at or deadline, deadline)
        schedule(registry, call)
        return (registry.persist(call), Reply(request.request_id, body))

    registry.emit(ReadFlows(registry.locals(call.call_id)))
    registry.queue.later(finish, call.call_id, request.request_id)
    return None


def _farewell(registry: Registry, call: Call, command: Command) -> Body:
    """What a delete says of the call: all of it, as a query would, unless `fast` or more than a datagram holds."""
    if command.fast:
        return reply.ok()
    if sum(1 for _ in call.medias()) > MAX_DETAILED:
        return reply.warning(TOO_LARGE)
    return query(registry, call, list(call.parties.values()))


def _query(registry: Registry, request: Request, now: float) -> None:
    command = request.command
    call = _known(registry, command.call_id)

    def answer() -> Iterable[Effect]:
        yield Reply(request.request_id, query(registry, call, selection.dialogue(call, command)))

    registry.emit(ReadFlows(registry.locals(call.call_id)))
    registry.queue.later(answer, call.call_id, request.request_id)


def _list(registry: Registry, request: Request, now: float) -> None:
    limit = request.command.limit
    calls = [str(call_id) for call_id in itertools.islice(itertools.chain(registry.calls, registry.aliases), limit)]
    registry.emit(Reply(request.request_id, reply.ok(calls=calls)))


def _statistics(registry: Registry, request: Request, now: float) -> None:
    registry.emit(Reply(request.request_id, statistics(registry, now)))


def _mute(registry: Registry, request: Request, now: float) -> Attempt | None:
    _known(registry, request.command.call_id)
    return mutate(registry, request, request.command.call_id, mute, now)


def _connect(registry: Registry, request: Request, now: float) -> Attempt | None:
    """Two parties hear each other from now on, whomever they have heard before; with `directional` the one hears others
    besides. Parties of two calls make one call of them.
    """
    command = request.command
    call = _known(registry, command.call_id)
    to_call_id = registry.aliases.get(command.to_call_id, command.to_call_id) or call.call_id
    other = _known(registry, to_call_id)
    sink = other.party_by_tag(command.to_tag)
    if command.directional:
        sources = selection.sources(call, command)
    else:
        party = call.party_by_tag(command.from_tag)
        sources = [party] if party is not None else []
    if not sources:
        raise PeerFault("Unknown from-tag" if command.from_tag else "No from-tag in message")
    if sink is None or sources == [sink]:
        raise PeerFault("Unknown to-tag")
    if other is not call:
        merge(registry, call, other)
    numbers, number = [source.number for source in sources if source is not sink], sink.number

    def change(call: Call, command: Command, context: Context) -> Body:
        # By number: what was found above may have been rolled back meanwhile.
        sink = call.parties[number]
        for source in [call.parties[number] for number in numbers]:
            if not command.directional:
                call.connect(source, sink)
                continue
            call.hear(source, sink, _ssrcs(registry))
            if command.flags.bidirectional:
                call.hear(sink, source, _ssrcs(registry))
        return reply.ok()

    return mutate(registry, request, call.call_id, change, now)


def _ssrcs(registry: Registry) -> Iterator[int]:
    while True:
        yield registry.random.getrandbits(32)


NOT_MEDIA = frozenset({CommandName.MESH})


def _not_yet(registry: Registry, request: Request, now: float) -> None:
    name = request.command.name
    lacking = "is not part of this relay" if name in NOT_MEDIA else "needs media processing this relay does not have"
    raise OurFault(f"Not supported yet: {name.value} {lacking}")


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
    CommandName.CONNECT: _connect,
    CommandName.CREATE: _create,
    CommandName.CREATE_ANSWER: _create_answer,
    **dict.fromkeys(MUTING, _mute),
}


def handler(name: CommandName) -> Handler:
    """What carries the command out; those whose media work is still to come say so."""
    return HANDLERS.get(name, _not_yet)


def _known(registry: Registry, call_id: CallId) -> Call:
    call = registry.calls.get(call_id)
    if call is None:
        raise UnknownCall
    return call


def _admitted(registry: Registry, request: Request) -> bool:
    """False: the call would be a new one, there is no room for it, and the proxy has been told."""
    if request.command.call_id in registry.calls:
        return True
    refusal = registry.admission.refusal(registry.settings, len(registry.calls), registry.totals)
    if refusal is None:
        return True
    registry.totals.ended[EndReason.REJECTED] += 1
    # A proxy that does not know of load limits goes to another node only at the text of this one error.
    known = "load limit" in request.command.supports
    registry.emit(Reply(request.request_id, reply.load_limit(refusal) if known else reply.error(SESSION_LIMIT)))
    return False


def _named(registry: Registry, command: Command) -> tuple[CallId, Tag]:
    """The call and the party that the command is about, under made-up names where it says none."""
    return command.call_id or CallId(_made_up(registry)), command.from_tag or Tag(_made_up(registry))


def _made_up(registry: Registry) -> str:
    return f"{registry.random.getrandbits(128):032x}"
