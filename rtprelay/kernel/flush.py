"""Taking away what a relay has left in the kernel. No program is loaded for that: it takes no longer than it must."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from rtprelay.errors import BackendFault
from rtprelay.kernel.attach import filter_handle
from rtprelay.kernel.libbpf import tc_detach
from rtprelay.kernel.netlink import Netlink
from rtprelay.kernel.pins import lock, remove


def flush(root: Path) -> None:
    """Detach and unpin everything of the relay whose pins are at `root`; nothing there: nothing happens. Raises
    BackendFault, and PinsInUse while that relay runs.
    """
    try:
        if not root.exists():
            return
        held = lock(root)
        try:
            with contextlib.closing(Netlink()) as netlink:
                for link in netlink.links():
                    tc_detach(link.index, filter_handle(root))
            remove(root)
        finally:
            os.close(held)
    except OSError as error:
        raise BackendFault(f"{error.strerror}: {error.filename or 'netlink'}") from error
