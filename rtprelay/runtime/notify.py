"""sd_notify(3): tell systemd that the relay is ready, stopping, or alive. Does nothing elsewhere."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1`, `WATCHDOG=1` or `STATUS=...` to the service manager, if there is one."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            # The manager's trouble; a relay does not stop for it.
            return


def watchdog_interval() -> float | None:
    """How often to say WATCHDOG=1: half of what systemd allows; None where it does not ask."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    wanted = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not (wanted and microseconds.isdigit() and int(microseconds) > 0):
        return None
    return int(microseconds) / 2_000_000
