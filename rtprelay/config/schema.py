"""What the daemon runs with, once every source has been read and every value understood."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rtprelay.core.settings import Settings
from rtprelay.errors import PeerFault
from rtprelay.security.certificate import KeyType
from rtprelay.values import Endpoint

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LISTENERS = ("ng", "tcp-ng", "tls-ng", "http", "https", "cli")
"""The kinds of control ports; the options are `listen-` and these."""


class ConfigError(PeerFault):
    """The operator has to change something; the text says what and where."""

    label = "config"


class BackendChoice(enum.Enum):
    AUTO = "auto"
    EBPF = "ebpf"
    TC = "tc"
    USERSPACE = "userspace"
    MEMORY = "memory"


class LogFormat(enum.Enum):
    DEFAULT = "default"
    PARSABLE = "parsable"
    JSON = "json"


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The control ports, who may use them, and how much of them."""

    listen: Mapping[str, tuple[Endpoint, ...]]
    """By kind, all of LISTENERS."""
    acl: Mapping[str, tuple[Network, ...]]
    """By kind, all of LISTENERS; empty: everyone."""
    token_file: Path | None
    certificate: Path | None
    """Set where there are TLS listeners."""
    key: Path | None
    client_ca: Path | None
    connections: int
    rate: float
    timeout: float
    metrics_prefix: str
    discover_mtu: bool | None
    """Of IPv4 paths, over UDP; None: as the host does."""
    templates: Mapping[str, str]
    """Named sets of flags."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    settings: Settings
    control: ControlConfig
    backend: BackendChoice
    no_fallback: bool
    state_dir: Path
    bpf_path: Path
    flush: bool
    foreground: bool
    pidfile: Path | None
    dtls_key_type: KeyType
    dtls_rsa_bits: int
    listening_quality: bool
    """Scores leave the round trip out."""
    drain_on_stop: float
    """Seconds; 0: a stop is one at once."""
    log_level: int
    """As in syslog(3): 0 emergency ... 6 info, 7 debug."""
    log_stderr: bool
    log_format: LogFormat
    log_facility: str
    source: str
    """Where it was read from, for people."""
    notices: tuple[str, ...] = ()
    """What the operator should know and need not change: options that have no meaning here."""
