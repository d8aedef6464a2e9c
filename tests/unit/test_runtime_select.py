"""Which data plane is chosen: what was asked for, or with auto what the machine can, and why it is that one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rtprelay.core.settings import MediaInterface
from rtprelay.errors import BackendFault, PinsInUse
from rtprelay.kernel import select
from rtprelay.kernel.select import start_data_plane

INTERFACES = (
    MediaInterface(name="a", address="192.0.2.1", port_min=100, port_max=199),
    MediaInterface(name="b", address="192.0.2.1", port_min=100, port_max=199),
    MediaInterface(name="c", address="2001:db8::1", port_min=300, port_max=309),
)


def chosen(choice: str, no_fallback: bool = False) -> tuple[str, str]:
    data_plane, reason = asyncio.run(start_data_plane(choice, Path("/nowhere"), INTERFACES, no_fallback))
    return data_plane.capabilities.name, reason


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BackendFault("not permitted")

    monkeypatch.setattr(select, "_kernel", refuse)


@pytest.mark.parametrize("choice", ["userspace", "memory"])
def test_what_is_asked_for_by_name_is_had(choice: str) -> None:
    assert chosen(choice)[0] == choice


@pytest.mark.usefixtures("no_kernel")
def test_auto_falls_back_to_userspace_and_says_why() -> None:
    assert chosen("auto") == ("userspace", "no eBPF: not permitted")


def test_auto_does_not_fall_back_when_another_relay_has_its_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PinsInUse("in use")

    monkeypatch.setattr(select, "_kernel", refuse)
    with pytest.raises(PinsInUse):
        chosen("auto")


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(("choice", "no_fallback"), [("auto", True), ("ebpf", False), ("tc", False)])
def test_the_kernel_or_no_start(choice: str, no_fallback: bool) -> None:
    with pytest.raises(BackendFault, match="not permitted"):
        chosen(choice, no_fallback)


def test_the_kernel_has_room_for_every_port_of_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    class Plane:
        def __init__(self, bpf_path: Path, addresses: tuple[str, ...], use_xdp: bool, max_flows: int) -> None:
            asked.append((bpf_path, addresses, use_xdp, max_flows))
            raise BackendFault("seen enough")

    monkeypatch.setattr("rtprelay.kernel.ebpf.EbpfBackend", Plane)
    for choice in ("ebpf", "tc"):
        with pytest.raises(BackendFault, match="seen enough"):
            chosen(choice)
    addresses = ("192.0.2.1", "2001:db8::1")
    assert asked == [(Path("/nowhere"), addresses, True, 110), (Path("/nowhere"), addresses, False, 110)]
