"""The programs loaded over maps of their own, and the maps filled by hand: no daemon, no backend."""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rtprelay.kernel import abi, libbpf
from rtprelay.kernel.encode import Entry
from rtprelay.kernel.flowmap import FlowMap
from rtprelay.kernel.keyring import KeyPrograms
from rtprelay.kernel.libbpf import Map, Object, Program, TestRun
from rtprelay.kernel.reports import ssrc_report
from rtprelay.kernel.srtp_keys import NO_KEY, srtp_key
from rtprelay.plan.flow import SsrcReport
from rtprelay.security.srtp import SrtpParameters
from rtprelay.values import Endpoint, Family

OBJECTS = Path(libbpf.__file__).parent / "objects"
SIZES = {
    "rtprelay_flows": 64,
    "rtprelay_rules": 64,
    "rtprelay_state": 64,
    "rtprelay_aside": 64,
    "rtprelay_output": 1024,
    "rtprelay_wrap": 1024,
    "rtprelay_sent": 1024,
    "rtprelay_unsent": 1024,
    "rtprelay_ssrcs": 64,
    "rtprelay_groups": 8,
    "rtprelay_srtp_keys": 64,
    "rtprelay_srtp_state": 64,
    "rtprelay_srtp_streams": 64,
}
LOOPBACK = 1
"""The device of a test run."""
MAC_IN = bytes.fromhex("02000000aa01")
MAC_OUT = bytes.fromhex("02000000aa02")
READY = abi.OutputFlag.PRESENT | abi.OutputFlag.READY


class Xdp(enum.IntEnum):
    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


class Tc(enum.IntEnum):
    UNSPEC = -1
    OK = 0
    SHOT = 2
    REDIRECT = 7


class Sent(NamedTuple):
    """What an output has sent, and could not send."""

    packets: int
    bytes: int
    errors: int


class State(NamedTuple):
    """What a flow has received, as userspace tells it."""

    packets: int
    bytes: int
    last_seen: int
    last_arrival: int
    confirmed: int
    ssrc_count: int
    ssrc: SsrcReport
    window: int


class Engine(NamedTuple):
    """One of the two programs, and how it says what becomes of a packet."""

    name: str
    program: Program
    sent: int
    passed: int
    """Up the stack."""
    not_ours: int
    """Of no flow of this relay: on to another one's program, or up the stack."""
    dropped: int

    def run(self, frame: bytes, repeat: int = 1) -> TestRun:
        return self.program.test_run(frame, repeat)


def index(number: int) -> bytes:
    return number.to_bytes(4, "little")


def array(length: int, values: Sequence[int]) -> ctypes.Array[ctypes.c_uint8]:
    return (ctypes.c_uint8 * length)(*values)


def at_once(deed: Callable[..., None], *arguments: object) -> None:
    """The grace of what is unlinked while nobody is looking."""
    deed(*arguments)


class Plane:
    """Close it, or use it as a context manager: the kernel forgets it then."""

    def __init__(self, sizes: dict[str, int] | None = None) -> None:
        self.maps: dict[str, Map] = {}
        self.programs: dict[str, Program] = {}
        self._objects: list[Object] = []
        self._slots = 0
        for name in ("relay_xdp", "relay_tc", "claim", "list"):
            loaded = Object(OBJECTS / f"{name}.bpf.o")
            self._objects.append(loaded)
            for resized, entries in (sizes or SIZES).items():
                loaded.resize(resized, entries)
            loaded.share({known: shared for known, shared in self.maps.items() if "." not in known})
            loaded.load()
            self.maps = loaded.maps | self.maps
            self.programs |= loaded.programs
        self.xdp = Engine("xdp", self.programs["relay_xdp"], Xdp.REDIRECT, Xdp.PASS, Xdp.PASS, Xdp.DROP)
        self.tc = Engine("tc", self.programs["relay_tc"], Tc.REDIRECT, Tc.OK, Tc.UNSPEC, Tc.SHOT)
        self._state = self.maps["rtprelay_state"].mmap(writable=True)
        self._aside = self.maps["rtprelay_aside"].mmap(writable=True)
        self._sent = self.maps["rtprelay_sent"].mmap(writable=True)
        self._unsent = self.maps["rtprelay_unsent"].mmap(writable=True)
        self._srtp = self.maps["rtprelay_srtp_state"].mmap(writable=True)
        self._keys: list[SrtpParameters] = []
        # One packet at a time: nobody is looking at what was unlinked.
        self.flows = FlowMap(self.maps, at_once)
        self.serve(LOOPBACK)

    @property
    def key_programs(self) -> KeyPrograms:
        return KeyPrograms(self.programs["rtprelay_claim"], self.programs["rtprelay_forget"])

    def serve(self, ifindex: int) -> None:
        """XDP may send to this device, looked up in the caller's namespace."""
        entry = abi.GroupEntry(ifindex, self.programs["relay_egress"].fd)
        self.maps["rtprelay_devices"].update(index(ifindex), bytes(entry))

    def reset(self) -> None:
        """As freshly loaded: loading takes a tenth of a second, which many tests need not spend."""
        self.flows.close()
        with self.maps["rtprelay_ports"].mmap(writable=True) as ports:
            ports[:] = bytes(len(ports))
        self.flows = FlowMap(self.maps, at_once)
        ssrcs = self.maps["rtprelay_ssrcs"]
        for key in list(ssrcs.keys()):
            ssrcs.delete(key)
        counts = self.maps["rtprelay_counts"]
        for position in range(counts.max_entries):
            counts.update(index(position), bytes(8 * libbpf.possible_cpus()))
        for position in range(self.maps["rtprelay_output"].max_entries):
            self.maps["rtprelay_output"].update(index(position), bytes(ctypes.sizeof(abi.Output)))
        for source in list(self.maps["rtprelay_lanes"].keys()):
            self.maps["rtprelay_lanes"].delete(source)
        for stream in list(self.maps["rtprelay_srtp_streams"].keys()):
            self.maps["rtprelay_srtp_streams"].delete(stream)
        for number in list(self.maps["rtprelay_srtp_keys"].keys()):
            self.maps["rtprelay_srtp_keys"].delete(number)
        for shared in (self._state, self._aside, self._sent, self._unsent, self._srtp):
            shared[:] = bytes(len(shared))
        self._slots = 0
        self._keys = []

    def put_key(self, parameters: SrtpParameters | None) -> int:
        """Its index, the same for the same key."""
        if parameters is None:
            return abi.NONE
        if parameters not in self._keys:
            self.maps["rtprelay_srtp_keys"].update(index(len(self._keys)), srtp_key(parameters))
            self._keys.append(parameters)
        return self._keys.index(parameters)

    def drop_key(self, parameters: SrtpParameters) -> None:
        self.maps["rtprelay_srtp_keys"].update(index(self._keys.index(parameters)), NO_KEY)

    def srtp_state(self, parameters: SrtpParameters) -> dict[int, abi.SrtpStream]:
        """What has been sent or received under a key, by SSRC."""
        number = self._keys.index(parameters)
        state = abi.SrtpState.from_buffer_copy(self._srtp, number * libbpf.stride(ctypes.sizeof(abi.SrtpState)))
        found = {state.first & 0xFFFFFFFF: state.stream} if state.first else {}
        for raw, value in self.maps["rtprelay_srtp_streams"].items():
            key = abi.SrtpStreamKey.from_buffer_copy(raw)
            if key.key == number:
                found[key.ssrc] = abi.SrtpStream.from_buffer_copy(value)
        return found

    def put_output(
        self,
        position: int,
        source: Endpoint,
        destination: Endpoint,
        ifindex: int = LOOPBACK,
        flags: int = READY,
        ssrc: int | None = None,
        sequence_offset: int = 0,
        timestamp_offset: int = 0,
        tos: int = 0,
        vlan: tuple[int, ...] = (),
        srtp: SrtpParameters | None = None,
    ) -> None:
        output = abi.Output(
            source=abi.address_bytes(source),
            destination=abi.address_bytes(destination),
            source_port=source.port,
            destination_port=destination.port,
            destination_mac=array(6, MAC_OUT),
            source_mac=array(6, MAC_IN),
            ifindex=ifindex,
            flags=flags
            | (abi.OutputFlag.SSRC if ssrc is not None else 0)
            | (abi.OutputFlag.SRTP if srtp is not None else 0)
            | (abi.OutputFlag.IP6 if destination.family is Family.IP6 else 0)
            | len(vlan) << abi.Limits.TAGS_SHIFT,
            ssrc=ssrc or 0,
            sequence_offset=sequence_offset,
            timestamp_offset=timestamp_offset,
            tos=tos,
        )
        wrap = abi.Wrap(srtp_out=self.put_key(srtp))
        for i, tag in enumerate(vlan):
            wrap.vlan[i] = tag
        self.maps["rtprelay_wrap"].update(index(position), bytes(wrap))
        self.maps["rtprelay_output"].update(index(position), bytes(output))

    def hole(self, position: int) -> None:
        """As a backend removes an output: all but its presence stays."""
        found = self.maps["rtprelay_output"].lookup(index(position))
        assert found
        output = abi.Output.from_buffer_copy(found)
        output.flags &= ~abi.OutputFlag.PRESENT
        self.maps["rtprelay_output"].update(index(position), bytes(output))

    def put_flow(
        self,
        local: Endpoint,
        expected: Endpoint | None,
        outputs: range = range(0),
        signalled: Endpoint | None = None,
        rtcp_expected: Endpoint | None = None,
        on_mismatch: abi.Mismatch = abi.Mismatch.DROP,
        flags: abi.FlowFlag = abi.FlowFlag.XDP | abi.FlowFlag.LOCK,
        payloads: dict[int, tuple[int, bool]] | None = None,
        silences: dict[int, int] | None = None,
        group: int = abi.NO_GROUP,
        rtcp_output: int = abi.NONE,
        mtu: int = 1500,
        slot: int | None = None,
        generation: int = 1,
        srtp: SrtpParameters | None = None,
    ) -> int:
        """Returns the slot. `payloads`: type -> (clock rate, dropped)."""
        if slot is None:
            slot, self._slots = self._slots, self._slots + 1
        flags |= abi.FlowFlag.SILENCED if silences else 0
        flow = abi.Flow(
            local=abi.address_bytes(local),
            local_port=local.port,
            expected=abi.address_bytes(expected),
            expected_port=expected.port if expected else 0,
            slot=slot,
            generation=generation,
            output_base=outputs.start,
            output_count=len(outputs),
            flags=flags | self._security(srtp, outputs),
            on_mismatch=on_mismatch,
            mtu=mtu,
            usual_type=abi.NO_PAYLOAD_TYPE,
            group=group,
        )
        rules = abi.Rules(
            rtcp_expected=abi.endpoint(rtcp_expected),
            signalled=abi.endpoint(signalled),
            rtcp_output=rtcp_output,
            rtcp_base=rtcp_output,
            rtcp_count=int(rtcp_output != abi.NONE),
            srtp_in=self.put_key(srtp),
        )
        for number, (payload_type, (clock_rate, dropped)) in enumerate((payloads or {}).items(), 1):
            rules.clocks[number] = abi.tick(clock_rate)
            rules.payload[payload_type] = number | (abi.PayloadRule.DROP if dropped else 0)
            if not dropped and flow.usual_type == abi.NO_PAYLOAD_TYPE:
                flow.usual_type, flow.usual_clock = payload_type, abi.tick(clock_rate)
        for number, (payload_type, byte) in enumerate((silences or {}).items(), 1):
            rules.silences[number] = byte
            rules.payload[payload_type] |= number << abi.Limits.SILENCE_SHIFT
        self.flows.put(local, bytes(flow), bytes(rules))
        return slot

    def lane(
        self,
        local: Endpoint,
        expected: Endpoint,
        outputs: range,
        payloads: dict[int, tuple[int, bool]],
        xdp: bool = True,
    ) -> Entry:
        """A lane of slot 0, for `put_bundle`: as if it were the whole flow, which it is for a moment."""
        self.put_flow(
            local, expected, outputs, payloads=payloads, flags=abi.FlowFlag.XDP if xdp else abi.FlowFlag(0), slot=0
        )
        ((_, flow, rules),) = self.flows.items()
        return flow, rules

    def put_bundle(self, local: Endpoint, expected: Endpoint, lanes: Sequence[Entry], lane_of: dict[int, int]) -> None:
        flow = abi.Flow(
            local=abi.address_bytes(local),
            local_port=local.port,
            expected=abi.address_bytes(expected),
            expected_port=expected.port,
            generation=1,
            flags=abi.FlowFlag.XDP | abi.FlowFlag.LOCK | abi.FlowFlag.LANED,
            usual_type=abi.NO_PAYLOAD_TYPE,
            group=abi.NO_GROUP,
        )
        rules = abi.Rules(rtcp_output=abi.NONE, srtp_in=abi.NONE)
        for payload_type, number in lane_of.items():
            rules.payload[payload_type] = number + 1
        self.flows.put(local, bytes(flow), bytes(rules), dict(enumerate(lanes)))

    def _security(self, srtp: SrtpParameters | None, outputs: range) -> abi.FlowFlag:
        flags = abi.FlowFlag(0) if srtp is None else abi.FlowFlag.SRTP
        for position in outputs:
            output = abi.Output.from_buffer_copy(self.maps["rtprelay_output"].lookup(index(position)) or b"")
            if output.flags & abi.OutputFlag.SRTP and output.flags & abi.OutputFlag.PRESENT:
                flags |= abi.FlowFlag.SRTP_OUT
        return flags

    def aside(self, slot: int = 0) -> abi.Aside:
        return abi.Aside.from_buffer_copy(self._aside, slot * libbpf.stride(ctypes.sizeof(abi.Aside)))

    def state(self, slot: int = 0) -> State:
        state, aside = abi.State.from_buffer_copy(self._state, slot * ctypes.sizeof(abi.State)), self.aside(slot)
        ssrc = state.ssrc
        return State(
            packets=ssrc.packets,
            bytes=ssrc.bytes,
            last_seen=max(ssrc.last_arrival, aside.last_seen),
            last_arrival=ssrc.last_arrival,
            confirmed=ssrc.confirmed,
            ssrc_count=aside.ssrc_count,
            ssrc=ssrc_report(abi.first_source(state, aside) or abi.Source()),
            window=ssrc.window[0] | ssrc.window[1] << 64,
        )

    def sent(self, position: int) -> Sent:
        sent = abi.Sent.from_buffer_copy(self._sent, position * ctypes.sizeof(abi.Sent))
        return Sent(sent.packets, sent.bytes, int.from_bytes(self._unsent[8 * position : 8 * position + 8], "little"))

    def put_sent(self, position: int, sent: Sent) -> None:
        size = ctypes.sizeof(abi.Sent)
        self._sent[position * size : (position + 1) * size] = bytes(abi.Sent(sent.packets, sent.bytes))
        self._unsent[8 * position : 8 * position + 8] = sent.errors.to_bytes(8, "little")

    def ssrcs(self) -> dict[int, SsrcReport]:
        """The further sources of all flows, by SSRC."""
        found = self.maps["rtprelay_ssrcs"].items()
        reports = [ssrc_report(abi.Source.from_buffer_copy(value)) for _, value in found]
        return {report.ssrc: report for report in reports}

    def counts(self) -> dict[str, int]:
        """Those that are not zero."""
        cpus = libbpf.possible_cpus()
        found = {}
        for number, name in abi.count_names().items():
            raw = self.maps["rtprelay_counts"].lookup(index(number), cpus)
            assert raw
            found[name] = sum((ctypes.c_uint64 * cpus).from_buffer_copy(raw))
        return {name: count for name, count in found.items() if count}

    def close(self) -> None:
        self.flows.close()
        for shared in (self._state, self._aside, self._sent, self._unsent, self._srtp):
            shared.close()
        for loaded in self._objects:
            loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
