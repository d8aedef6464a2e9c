"""What of a configuration can change while the relay runs, and what has to wait for its next start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from rtprelay.config.schema import Config

SETTINGS = (
    "timeout",
    "silent_timeout",
    "offer_timeout",
    "final_timeout",
    "delete_delay",
    "endpoint_learning",
    "tos",
    "max_sessions",
    "max_load",
    "max_cpu",
    "max_bandwidth",
    "unheard_bandwidth",
    "ice_consent_timeout",
    "reject_invalid_sdp",
    "control_tos",
)
CONTROL = ("acl", "templates")
PROCESS = ("log_level", "drain_on_stop")
_NOT_SAID = frozenset({"settings", "control", "control_addresses", "source", "notices"})
"""Fields that follow from others, or are no options."""
_SPELLED = {
    "interfaces": "interface",
    "interface_aliases": "interface",
    "listen": "listen-*",
    "acl": "control-acl",
    "token_file": "control-token-file",
    "certificate": "https-cert",
    "key": "https-key",
    "client_ca": "https-client-ca",
    "connections": "control-connections",
    "rate": "control-rate",
    "discover_mtu": "control-pmtu",
    "listening_quality": "mos",
    "dtls_key_type": "dtls-cert-cipher",
    "dtls_rsa_bits": "dtls-rsa-key-size",
}

S = TypeVar("S", bound=msgspec.Struct)


class Reload(msgspec.Struct, frozen=True):
    """`config` is the running one with what can change; `changed` and `waiting` name options."""

    config: Config
    changed: tuple[str, ...]
    waiting: tuple[str, ...]


def reload(running: Config, read: Config) -> Reload:
    """The running configuration, turned into what has just been read as far as that can be."""
    parts = (
        (running.settings, read.settings, SETTINGS),
        (running.control, read.control, CONTROL),
        (running, read, PROCESS),
    )
    differing = [(name, name in ready) for old, new, ready in parts for name in _differing(old, new)]
    config = msgspec.structs.replace(
        _taken(running, read, PROCESS),
        settings=_taken(running.settings, read.settings, SETTINGS),
        control=_taken(running.control, read.control, CONTROL),
    )
    return Reload(
        config,
        changed=tuple(_option(name) for name, ready in differing if ready),
        waiting=tuple(_option(name) for name, ready in differing if not ready),
    )


def _differing(old: msgspec.Struct, new: msgspec.Struct) -> Iterator[str]:
    for name in old.__struct_fields__:
        if name not in _NOT_SAID and getattr(old, name) != getattr(new, name):
            yield name


def _taken(running: S, read: S, names: Sequence[str]) -> S:
    return msgspec.structs.replace(running, **{name: getattr(read, name) for name in names})


def _option(field: str) -> str:
    """As file and command line spell it."""
    return _SPELLED.get(field, field.replace("_", "-"))
