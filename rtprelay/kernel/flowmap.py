"""Flows by local endpoint, as the programs find them: three arrays, and words that lead from one to the next.

    rtprelay_ports[word_at(local port)] --> index --> rtprelay_flows[index], rtprelay_rules[index]
                                                            | next
                                                            v
                                                      the flow at the same port of another local address

    rtprelay_rules[index].lanes[n] --> the flow of lane n, where several media share the port: it is in no chain

Theory of operation. What a port leads to is never changed in place. A new version of a flow is written to a place that
nobody knows, and then the one word that led to the old version is made to lead to the new one: a program sees either,
whole. The old place is given out again when no program can be looking at it any more. A place that no port leads to is
free, whatever is in it; so a crash between the two steps leaves nothing behind. Lanes come and go with the flow that
leads to them: a new version has all of them anew.

Words and entries are written through memory, without system calls.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from rtprelay.errors import BackendFault
from rtprelay.kernel import abi
from rtprelay.kernel.encode import Entry
from rtprelay.kernel.libbpf import Map, stride
from rtprelay.kernel.slots import AfterGrace, Blocks
from rtprelay.values import Endpoint

_FLOW = ctypes.sizeof(abi.Flow)
_RULES = ctypes.sizeof(abi.Rules)
_FLOW_STRIDE = stride(_FLOW)
_RULES_STRIDE = stride(_RULES)
_NEXT_AT = abi.offset_of(abi.Flow, "next")
_NEXT = slice(_NEXT_AT, _NEXT_AT + 4)
_NOWHERE = bytes(4)
_SLOT_AT = abi.offset_of(abi.Flow, "slot") // 4
_OUTPUT_AT = abi.offset_of(abi.Flow, "output_base") // 4
_INDEX_BITS, _HINT_BITS = int(abi.Limits.PORT_INDEX_BITS), int(abi.Limits.PORT_HINT_BITS)
_INDEX, _HINT = (1 << _INDEX_BITS) - 1, (1 << _HINT_BITS) - 1
_COUNT_AT = abi.offset_of(abi.Flow, "output_count") // 4
_FLAGS_AT = abi.offset_of(abi.Flow, "flags")
_LANED = int(abi.FlowFlag.LANED)
_LANES_AT = abi.offset_of(abi.Rules, "lanes")
_LANES = struct.Struct(f"={abi.Limits.MAX_LANES}I")
_NO_LANES = bytes(_LANES.size)
_NOTHING: Mapping[int, Entry] = MappingProxyType({})


def word_at(port: int) -> int:
    """Where the word of a port is: those of even ports, which are RTP's, come first and share cache lines."""
    return port >> 1 | (port & 1) << 15


class FlowMap:
    """Owns the contents of the three arrays; finds what a predecessor left there."""

    def __init__(self, maps: Mapping[str, Map], after_grace: AfterGrace) -> None:
        self._after_grace = after_grace
        self._memory = [
            maps[name].mmap(writable=True) for name in ("rtprelay_ports", "rtprelay_flows", "rtprelay_rules")
        ]
        ports, self._flows, self._rules = self._memory
        self._ports = memoryview(ports).cast("Q")
        self._words = memoryview(self._flows).cast("I")
        self._places = Blocks(min(maps["rtprelay_flows"].max_entries, _INDEX + 1), "flows")
        self._places.claim(0, 0)
        """Index 0 ends a chain."""
        self._at: dict[Endpoint, int] = {}
        self._find()

    def _find(self) -> None:
        words = self._ports.tolist()
        for port in [port for port in range(abi.Limits.PORTS) if words[word_at(port)]]:
            for at in self._chain(port):
                if not self._places.claim(at, 0):
                    break
                flow = abi.Flow.from_buffer_copy(self._flows, at * _FLOW_STRIDE)
                local = abi.address_of(flow.local, flow.local_port)
                if local is not None and local.port == port:
                    self._at[local] = at
                for lane in self._lanes(at).values():
                    self._places.claim(lane, 0)

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, local: object) -> bool:
        return local in self._at

    def items(self) -> Iterator[tuple[Endpoint, bytes, bytes]]:
        """(local, flow, rules) as they were put."""
        for local, at in list(self._at.items()):
            yield local, *self._read(at)

    def lanes(self, local: Endpoint) -> dict[int, Entry]:
        """The lanes of the flow there, as they were put."""
        return {number: self._read(place) for number, place in self._lanes(self._at[local]).items()}

    def put(self, local: Endpoint, flow: bytes, rules: bytes, lanes: Mapping[int, Entry] = _NOTHING) -> None:
        """Add or replace, with these lanes where it is LANED. Raises BackendFault where there is no room; nothing has
        changed then.
        """
        known = self._at.get(local)
        following = self._next(known) if known is not None else self._first(local.port)
        if known is None and following:
            self._check_chain(local.port)
        if lanes:
            place, *further = self._take(1 + len(lanes))
            rules = self._put_lanes(rules, dict(zip(lanes, further, strict=True)), lanes)
        else:
            place = self._places.take(0)
        self._write(place, flow, rules, following)
        if known is None:
            self._ports[word_at(local.port)] = self._leading_to(place)
        else:
            self._redirect(local.port, known, place)
            self._after_grace(self.free, self._leaves(known))
        self._at[local] = place

    def delete(self, local: Endpoint) -> bool:
        """False: it was not there."""
        places = self.unlink(local)
        if places:
            self._after_grace(self.free, places)
        return bool(places)

    def unlink(self, local: Endpoint) -> tuple[int, ...]:
        """The places that nothing leads to any more: to be freed after a grace."""
        known = self._at.pop(local, None)
        if known is None:
            return ()
        self._redirect(local.port, known, self._next(known))
        return self._leaves(known)

    def _leaves(self, place: int) -> tuple[int, ...]:
        """The flow there, and its lanes."""
        return place, *self._lanes(place).values()

    def free(self, places: Iterable[int]) -> None:
        for place in places:
            self._places.free(place, 0)

    def _put_lanes(self, rules: bytes, places: Mapping[int, int], lanes: Mapping[int, Entry]) -> bytes:
        """Returns the rules that lead to them."""
        for number, entry in lanes.items():
            self._write(places[number], *entry, following=0)
        table = _LANES.pack(*(places.get(number, 0) for number in range(abi.Limits.MAX_LANES)))
        return rules[:_LANES_AT] + table + rules[_LANES_AT + _LANES.size :]

    def _take(self, count: int) -> list[int]:
        """All of them, or none."""
        places: list[int] = []
        try:
            for _ in range(count):
                places.append(self._places.take(0))
        except BackendFault:
            for place in places:
                self._places.free(place, 0)
            raise
        return places

    def _write(self, place: int, flow: bytes, rules: bytes, following: int) -> None:
        at = place * _RULES_STRIDE
        self._rules[at : at + _RULES] = rules
        at = place * _FLOW_STRIDE
        self._flows[at : at + _FLOW] = flow
        if following:
            self._words[(place * _FLOW_STRIDE + _NEXT_AT) // 4] = following

    def _read(self, place: int) -> Entry:
        flow = bytearray(self._flows[place * _FLOW_STRIDE : place * _FLOW_STRIDE + _FLOW])
        rules = bytearray(self._rules[place * _RULES_STRIDE : place * _RULES_STRIDE + _RULES])
        flow[_NEXT] = _NOWHERE
        rules[_LANES_AT : _LANES_AT + _LANES.size] = _NO_LANES
        return bytes(flow), bytes(rules)

    def _lanes(self, place: int) -> dict[int, int]:
        """Where the lanes of the flow at this place are."""
        if not self._flows[place * _FLOW_STRIDE + _FLAGS_AT] & _LANED:
            return {}
        lanes = _LANES.unpack_from(self._rules, place * _RULES_STRIDE + _LANES_AT)
        return {number: lane for number, lane in enumerate(lanes) if lane}

    def _redirect(self, port: int, old: int, new: int) -> None:
        """Let what leads to `old` lead to `new`: one word."""
        if self._first(port) == old:
            self._ports[word_at(port)] = self._leading_to(new)
        else:
            *_, before = self._chain(port, until=old)
            self._words[(before * _FLOW_STRIDE + _NEXT_AT) // 4] = new

    def _chain(self, port: int, until: int = 0) -> Iterator[int]:
        """The flows at this port in the order a packet meets them, up to but without `until`."""
        at = self._first(port)
        for _ in range(abi.Limits.MAX_CHAIN):
            if at in (until, 0):
                return
            yield at
            at = self._next(at)

    def _next(self, at: int) -> int:
        return int(self._words[(at * _FLOW_STRIDE + _NEXT_AT) // 4])

    def _first(self, port: int) -> int:
        return int(self._ports[word_at(port)] & _INDEX)

    def _leading_to(self, place: int) -> int:
        """The word of a port: with hints what to fetch beside the flow there."""
        if not place:
            return 0
        words, at = self._words, place * _FLOW_STRIDE // 4
        hints = (words[at + _OUTPUT_AT] & _HINT) << _HINT_BITS | words[at + _SLOT_AT] & _HINT
        several = words[at + _COUNT_AT] & 0xFFFF > 1
        return (hints << 1 | several) << _INDEX_BITS | place

    def _check_chain(self, port: int) -> None:
        length = sum(1 for _ in self._chain(port))
        if length >= abi.Limits.MAX_CHAIN:
            raise BackendFault(f"port {port} is in use on {length} addresses; the kernel looks no further")

    def close(self) -> None:
        self._ports.release()
        self._words.release()
        for memory in self._memory:
            memory.close()
