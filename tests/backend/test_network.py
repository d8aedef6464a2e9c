"""The network changes under a running relay: neighbours, devices, addresses, MTU.

      caller (10.71.1.2) ---- (10.71.1.1) relay (10.71.2.1) ---- (10.71.2.2) callee

A network of its own for each test, since the test breaks it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtprelay.plan.flow import Flow, Output, PayloadRule
from rtprelay.security.srtp import SrtpContext
from rtprelay.values import Family
from rtprelay.wire import rtp
from tests.backend.conftest import needs_root
from tests.backend.namespaces import KernelRig, SocketParty, cable, inside, mac, veth_lab
from tests.backend.packets import audio
from tests.backend.rig import datas, put, report
from tests.backend.test_fallback import keys
from tools.netns import Namespace, veth

CALLEE_SIDE = "to-b"


@pytest.fixture(params=[pytest.param(name, marks=needs_root) for name in ("xdp", "tc")])
def rig(request: pytest.FixtureRequest) -> Iterator[KernelRig]:
    with veth_lab() as lab, inside(lab.relay):
        rig = KernelRig(request.param, lab, use_xdp=request.param == "xdp")
        yield rig
        rig.close()


def relay_to(rig: KernelRig, caller: SocketParty, *callees: SocketParty) -> Flow:
    outputs = tuple(Output(rig.source(callee.endpoint.family), callee.endpoint) for callee in callees)
    local = rig.local(caller.endpoint.family)
    return put(rig, Flow(local, caller.endpoint, payloads=(PayloadRule(0, 8000),), outputs=outputs))


def modes(rig: KernelRig) -> dict[str, str]:
    return {mode.interface: mode.mode for mode in rig.backend.interfaces()}


def in_kernel(rig: KernelRig, flow: Flow, caller: SocketParty, *callees: SocketParty) -> bool:
    """Send one packet; True where it arrives without passing userspace. While the network changes, packets get lost."""
    handled = rig.handled
    caller.send(flow.local, audio(0))
    for _ in range(20):
        rig.rest()
        if all(callee.waiting() for callee in callees):
            break
    arrived = all(callee.waiting() for callee in callees)
    for callee in callees:
        callee.forget()
    return arrived and rig.handled == handled


def served(rig: KernelRig, flow: Flow, caller: SocketParty, *callees: SocketParty) -> None:
    """Wait until the kernel forwards to all of these."""
    rig.wait(lambda: in_kernel(rig, flow, caller, *callees), lambda: f"not served: {modes(rig)}")


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.value)
def test_a_neighbour_nobody_knows_is_resolved_and_followed_to_its_new_mac(rig: KernelRig, family: Family) -> None:
    side = rig.lab.callee
    rig.lab.relay.ip("neigh", "delete", side.party[family], "dev", CALLEE_SIDE)
    caller, callees = rig.caller(family), [rig.callee(family), rig.callee(family)]
    flow = relay_to(rig, caller, *callees)
    served(rig, flow, caller, *callees)

    side.namespace.ip("link", "set", "eth0", "address", "02:00:00:00:be:ef")
    neighbour = ("neigh", "replace", side.party[family], "lladdr", "02:00:00:00:be:ef", "dev", CALLEE_SIDE)
    rig.lab.relay.ip(*neighbour)
    served(rig, flow, caller, *callees)


def test_a_device_that_goes_and_comes_back_is_served_again(rig: KernelRig) -> None:
    caller, callees = rig.caller(), [rig.callee(), rig.callee()]
    flow = relay_to(rig, caller, *callees)
    served(rig, flow, caller, *callees)

    rig.lab.relay.ip("link", "delete", CALLEE_SIDE)
    rig.wait(lambda: CALLEE_SIDE not in modes(rig), lambda: f"still there: {modes(rig)}")
    caller.send(flow.local, audio(1))
    assert "to-a" in modes(rig)

    cable(rig.lab.relay, rig.lab.callee.namespace, CALLEE_SIDE, 2)
    rig.wait(lambda: modes(rig).get(CALLEE_SIDE) == modes(rig)["to-a"], lambda: f"not served: {modes(rig)}")
    served(rig, flow, caller, *callees)


def test_a_device_that_goes_down_and_up_keeps_its_flows(rig: KernelRig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = relay_to(rig, caller, callee)
    served(rig, flow, caller, callee)
    before = modes(rig)
    rig.lab.relay.ip("link", "set", CALLEE_SIDE, "down")
    rig.rest()
    caller.send(flow.local, audio(1))
    rig.lab.relay.ip("link", "set", CALLEE_SIDE, "up")
    served(rig, flow, caller, callee)
    assert modes(rig) == before


def test_a_device_is_served_for_as_long_as_it_has_an_address(rig: KernelRig) -> None:
    """By tc with any address, for packets to a media address may come in there; natively only with one of those."""
    media = f"{rig.lab.callee.relay[Family.IP4]}/32"
    best = modes(rig)[CALLEE_SIDE]
    with Namespace("late") as late:
        veth(rig.lab.relay, "to-c", late, "eth0")
        rig.rest()
        assert "to-c" not in modes(rig)
        rig.lab.relay.address("to-c", "10.71.9.1/24")
        rig.wait(lambda: modes(rig).get("to-c") == "tc", lambda: f"not served: {modes(rig)}")
        rig.lab.relay.address("to-c", media)
        rig.wait(lambda: modes(rig).get("to-c") == best, lambda: f"not served natively: {modes(rig)}")
        rig.lab.relay.ip("address", "delete", media, "dev", "to-c")
        rig.wait(lambda: modes(rig).get("to-c") == "tc", lambda: f"still served natively: {modes(rig)}")
        rig.lab.relay.ip("address", "delete", "10.71.9.1/24", "dev", "to-c")
        rig.wait(lambda: "to-c" not in modes(rig), lambda: f"still served: {modes(rig)}")
        assert "bpf" not in rig.lab.relay.run("tc", "filter", "show", "dev", "to-c", "ingress")


def test_a_packet_too_large_for_the_way_out_is_forwarded_by_userspace(rig: KernelRig) -> None:
    rig.lab.relay.ip("link", "set", CALLEE_SIDE, "mtu", "1280")
    rig.rest()
    caller, callee = rig.caller(), rig.callee()
    flow = relay_to(rig, caller, callee)
    small, large = audio(1), audio(2, size=1400)
    caller.send(flow.local, small, large)
    assert datas(callee.receive(2)) == [small, large]
    seen = report(rig, flow.local)
    assert (seen.packets, seen.kernel_packets, seen.punted, rig.handled) == (2, 1, 1, 1)
    assert [sent.packets for sent in seen.outputs] == [2]
    (stream,) = seen.ssrcs
    assert (stream.packets, stream.lost, stream.highest_sequence) == (2, 0, 2)
    assert rig.backend.counters()["punt_too_big"] == 1


def test_the_mtu_of_the_way_out_is_followed(rig: KernelRig) -> None:
    caller, callee = rig.caller(), rig.callee()
    flow = relay_to(rig, caller, callee)
    large = audio(1, size=1400)
    caller.send(flow.local, large)
    callee.receive(1)
    assert rig.handled == 0
    rig.lab.relay.ip("link", "set", CALLEE_SIDE, "mtu", "1280")

    def handed_up() -> bool:
        caller.send(flow.local, large)
        rig.rest()
        return rig.handled > 0

    rig.wait(handed_up, lambda: "the kernel still forwards")


def test_ipv4_packets_that_grow_to_ipv6_respect_the_mtu(rig: KernelRig) -> None:
    caller, callee = rig.caller(), rig.callee(Family.IP6)
    flow = relay_to(rig, caller, callee)
    fits, grows = audio(1, size=1500 - 40 - 8 - 12), audio(2, size=1500 - 20 - 8 - 12)
    caller.send(flow.local, fits, grows)
    assert datas(callee.receive(2)) == [fits, grows]
    assert (report(rig, flow.local).kernel_packets, rig.handled) == (1, 1)


def test_a_route_that_moves_to_another_device_is_followed(rig: KernelRig) -> None:
    caller, callees = rig.caller(), [rig.callee(), rig.callee()]
    flow = relay_to(rig, caller, *callees)
    served(rig, flow, caller, *callees)
    side, relay = rig.lab.callee, rig.lab.relay
    veth(relay, "to-d", side.namespace, "eth1")
    address = side.party[Family.IP4]
    relay.ip("neigh", "replace", address, "lladdr", mac(side.namespace, "eth1"), "dev", "to-d", "nud", "permanent")
    relay.ip("route", "add", f"{address}/32", "dev", "to-d")
    side.namespace.ip("link", "set", "eth0", "down")
    side.namespace.address("eth1", f"{address}/24")
    served(rig, flow, caller, *callees)


def test_xdp_is_not_used_where_redirected_frames_would_be_lost(rig: KernelRig) -> None:
    with Namespace("late") as late:
        relay = rig.lab.relay
        relay.ip("link", "add", "to-e", "type", "veth", "peer", "name", "eth0", "netns", late.name)
        for namespace, device in ((relay, "to-e"), (late, "eth0")):
            namespace.run("ethtool", "-K", device, "gro", "off")
            namespace.ip("link", "set", device, "up")
        relay.address("to-e", f"{rig.lab.callee.relay[Family.IP4]}/32")
        rig.wait(lambda: "to-e" in modes(rig), lambda: f"not served: {modes(rig)}")
        (mode,) = (mode for mode in rig.backend.interfaces() if mode.interface == "to-e")
        assert mode.mode == "tc"
        assert ("peer" in mode.reason) == (rig.name == "xdp")


def test_sequence_numbers_are_one_stream_whichever_way_they_went(rig: KernelRig) -> None:
    rig.lab.relay.ip("link", "set", CALLEE_SIDE, "mtu", "1280")
    rig.rest()
    caller, callee = rig.caller(), rig.callee()
    flow = relay_to(rig, caller, callee)
    packets = [audio(65534 + n, size=1400 if n % 3 == 1 else 100) for n in range(12) if n != 5]
    caller.send(flow.local, *packets)
    received = datas(callee.receive(len(packets)))
    assert sorted(rtp.parse(data).sequence for data in received) == sorted(rtp.parse(data).sequence for data in packets)
    (stream,) = report(rig, flow.local).ssrcs
    assert (stream.packets, stream.lost, stream.highest_sequence) == (11, 1, 65534 + 11)


@pytest.mark.parametrize("tags", [(7,), (7, 8)], ids=["one-tag", "two-tags"])
def test_a_vlan_device_is_served_by_tc_with_keys_and_without(rig: KernelRig, tags: tuple[int, ...]) -> None:
    relay, side = rig.lab.relay, rig.lab.callee
    names = [f"tag{tag}" for tag in tags]
    for namespace, device in ((relay, CALLEE_SIDE), (side.namespace, "eth0")):
        for tag, lower, name in zip(tags, (device, *names), names, strict=False):
            try:
                namespace.ip("link", "add", "link", lower, "name", name, "type", "vlan", "id", str(tag))
            except RuntimeError:
                pytest.skip("this kernel has no VLAN devices (8021q)")
            namespace.ip("link", "set", name, "up")
    ours, theirs = side.relay[Family.IP4], side.party[Family.IP4]
    relay.ip("address", "delete", f"{ours}/24", "dev", CALLEE_SIDE)
    relay.address(names[-1], f"{ours}/24")
    side.namespace.ip("address", "delete", f"{theirs}/24", "dev", "eth0")
    side.namespace.address(names[-1], f"{theirs}/24")
    side.namespace.route("10.71.1.0/24", ours)
    rig.wait(lambda: modes(rig).get(names[-1]) == "tc", lambda: f"not served: {modes(rig)}")
    caller, callees = rig.caller(), [rig.callee(), rig.callee()]
    flow = relay_to(rig, caller, *callees)
    served(rig, flow, caller, *callees)

    handled, callee = rig.handled, callees[0]
    there, back = keys(), keys()
    protected = Output(rig.source(), callee.endpoint, srtp=there)
    to_callee = put(rig, Flow(rig.local(), caller.endpoint, outputs=(protected,)))
    plain = (Output(to_callee.local, caller.endpoint),)
    to_caller = put(rig, Flow(protected.source, callee.endpoint, outputs=plain, srtp=back))
    for sequence in range(5):
        caller.send(to_callee.local, audio(sequence))
        callee.send(to_caller.local, SrtpContext(back).protect(audio(sequence)))
    receiver = SrtpContext(there)
    assert [receiver.unprotect(data) for data in datas(callee.receive(5))] == [audio(n) for n in range(5)]
    assert datas(caller.receive(5)) == [audio(n) for n in range(5)]
    assert rig.handled == handled
