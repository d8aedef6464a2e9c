"""Network namespaces for tests and demos: created, joined by veth pairs, cleaned up.

Theory of operation: a `Namespace` is a name under /run/netns. Programs are started in it by `nsenter --net=`, which,
unlike `ip netns exec`, does not mount a fresh /sys over the one that holds the bpffs pins. Sockets of this process are
made there by a short-lived thread that enters the namespace: a socket stays in the namespace it was made in, whoever
uses it later.

Names carry the id of the process that made them, so several runs side by side never meet.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()

T = TypeVar("T")


def run(*argv: str, check: bool = True) -> str:
    """Run a program to its end; its output. A failure carries what the program said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Namespace:
    """One network namespace with `lo` up; use as a context manager, or `delete` it."""

    def __init__(self, label: str) -> None:
        self.name = f"rr{os.getpid()}-{next(_serial)}-{label}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")
        # Duplicate address detection keeps a new IPv6 address unusable for a second; nobody else is on these links.
        self.sysctl("net.ipv6.conf.default.accept_dad", "0")

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def command(self, *argv: str) -> list[str]:
        """The command line that starts `argv` in here, with the caller's view of /sys (bpffs pins) and of all files."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(self, *argv: str, check: bool = True) -> str:
        return run(*self.command(*argv), check=check)

    def ip(self, *argv: str) -> str:
        return run("ip", "-n", self.name, *argv)

    def sysctl(self, name: str, value: str) -> None:
        self.run("sysctl", "-qw", f"{name}={value}")

    def address(self, interface: str, *cidrs: str) -> None:
        for cidr in cidrs:
            self.ip("address", "add", cidr, "dev", interface, *(("nodad",) if ":" in cidr else ()))

    def route(self, destination: str, via: str) -> None:
        self.ip("route", "add", destination, "via", via)

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns when run inside the namespace (by a thread of its own: only that thread enters)."""
        result: list[T] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                with open(self.path, "rb") as handle:
                    if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(function())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=inside, name=self.name)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return self.call(lambda: socket.socket(family, kind, protocol))

    def snmp(self, protocol: str = "Udp") -> dict[str, int]:
        """Kernel counters of the namespace, such as `InErrors` and `InCsumErrors` of UDP over both IP versions."""

        def read() -> dict[str, int]:
            found: dict[str, int] = {}
            with open("/proc/thread-self/net/snmp", encoding="ascii") as table:
                lines = [line.split() for line in table if line.startswith(f"{protocol}:")]
            for key, value in zip(lines[0][1:], lines[1][1:], strict=True):
                found[key] = int(value)
            with open("/proc/thread-self/net/snmp6", encoding="ascii") as table:
                for line in table:
                    name, count = line.split()
                    if name.startswith(f"{protocol}6"):
                        key = name.removeprefix(f"{protocol}6")
                        found[key] = found.get(key, 0) + int(count)
            return found

        return self.call(read)

    def processes(self) -> list[int]:
        return [int(pid) for pid in run("ip", "netns", "pids", self.name, check=False).split()]

    def delete(self) -> None:
        run("ip", "netns", "delete", self.name, check=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.delete()


def veth(a: Namespace, a_name: str, b: Namespace, b_name: str, index: int | None = None) -> None:
    """A cable between two namespaces, both ends up; `index`: the ifindex at `a`.

    GRO is on at both ends: a veth accepts XDP-redirected frames only if its peer runs an XDP program or has GRO on.
    """
    wished = () if index is None else ("index", str(index))
    a.ip("link", "add", a_name, *wished, "type", "veth", "peer", "name", b_name, "netns", b.name)
    ends = ((a, a_name), (b, b_name))
    # Both before either comes up: a veth decides only then, from its peer's GRO, whether it takes redirected frames.
    for namespace, name in ends:
        namespace.run("ethtool", "-K", name, "gro", "on")
    for namespace, name in ends:
        namespace.ip("link", "set", name, "up")


def checksum_offload(namespace: Namespace, interface: str, on: bool) -> None:
    """With offload on, a sender on veth hands over packets whose UDP checksum is not filled in (CHECKSUM_PARTIAL)."""
    namespace.run("ethtool", "-K", interface, "tx", "on" if on else "off")


def unused_udp_port(address: str, namespace: Namespace | None = None) -> int:
    """A UDP port that was free a moment ago."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def probe() -> int:
        with socket.socket(family, socket.SOCK_DGRAM) as found:
            found.bind((address, 0))
            return int(found.getsockname()[1])

    return namespace.call(probe) if namespace else probe()
