"""Which data plane this machine gets, and why: the kernel's where it can be had, userspace otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from rtprelay.call.interface import MediaInterface
from rtprelay.errors import BackendFault
from rtprelay.kernel.backend import Backend, Steering
from rtprelay.kernel.forwarder import UserspaceForwarder
from rtprelay.kernel.memory import MemoryBackend
from rtprelay.kernel.userspace import UserspaceBackend


class DataPlane(Backend, Protocol):
    """A backend with the userspace forwarder all of them carry: what the kernel hands up is forwarded there."""

    forwarder: UserspaceForwarder


async def start_data_plane(
    choice: str, bpf_path: Path, interfaces: Iterable[MediaInterface], no_fallback: bool
) -> tuple[DataPlane, str]:
    """The started data plane for `choice` (auto, ebpf, tc, userspace or memory) and why it is this one.

    Only auto falls back, and not with `no_fallback`. Raises BackendFault where what was asked for cannot be had,
    and PinsInUse.
    """
    if choice == "memory":
        return await _started(MemoryBackend()), "as configured: for tests"
    if choice == "userspace":
        return await _started(UserspaceBackend()), "as configured"
    if choice != "auto":
        return await _kernel(choice, bpf_path, interfaces, "as configured")
    try:
        return await _kernel("ebpf", bpf_path, interfaces, "eBPF is to be had")
    except BackendFault as fault:
        if no_fallback:
            raise
        return await _started(UserspaceBackend()), f"no eBPF: {fault.reason}"


def flush_data_plane(choice: str, bpf_path: Path) -> None:
    """Leave nothing behind in the kernel. Raises BackendFault, PinsInUse.

    Not for `auto` without root, which had nothing there.
    """
    if choice not in ("memory", "userspace") and not (choice == "auto" and os.geteuid() != 0):
        from rtprelay.kernel.flush import flush

        flush(bpf_path)


def start_steering(data_plane: DataPlane, interfaces: Iterable[MediaInterface]) -> tuple[Steering | None, str]:
    """What holds the media ports of this data plane without a socket for each, or None; and why it is so."""
    if data_plane.capabilities.name not in ("ebpf", "tc"):
        return None, "all media goes through the relay's own sockets"
    from rtprelay.kernel.steer import SocketSteering, reserve

    try:
        reserve((item.port_min, item.port_max) for item in interfaces)
        return SocketSteering(), "the kernel can steer what comes for them"
    except BackendFault as fault:
        return None, fault.reason


async def _started(data_plane: DataPlane) -> DataPlane:
    await data_plane.start()
    return data_plane


async def _kernel(
    choice: str, bpf_path: Path, interfaces: Iterable[MediaInterface], reason: str
) -> tuple[DataPlane, str]:
    # Imported late: ctypes, libbpf and netlink are nothing to a relay without privileges.
    from rtprelay.kernel.ebpf import EbpfBackend

    ports = {item.address: item.port_max - item.port_min + 1 for item in interfaces}
    backend = EbpfBackend(bpf_path, tuple(ports), use_xdp=choice == "ebpf", max_flows=sum(ports.values()))
    await backend.start()
    if backend.replaces:
        reason += "; the maps there are of another version or size: flows are installed anew in new ones"
    return backend, reason
