"""What both relays stand on: the same interfaces and port range."""

from __future__ import annotations

INTERFACES = (("a", "127.0.0.1"), ("b", "127.0.0.2"), ("a", "::1"), ("b", "::1"))
PORTS = range(20000, 30000)
"""Enough for all conversations in a row: ports rest before they are used again. None is ephemeral."""
