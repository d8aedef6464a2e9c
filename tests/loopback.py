"""An address of 127.0.0.0/8 for this process alone.

A port that was free a moment ago, or that a relay has left and its successor wants, is not taken by tests that run
beside these: they have addresses of their own. Where it matters, ports lie below those that the system gives to
anybody's sockets on all addresses.
"""

from __future__ import annotations

import os

_pid = os.getpid()
HOST = f"127.{64 + (_pid >> 16 & 63)}.{_pid >> 8 & 255}.{_pid & 255}"
