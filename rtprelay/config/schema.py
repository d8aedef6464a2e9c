"""What the daemon runs with, once every source has been read and every value understood."""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec

from rtprelay.core.settings import Settings
from rtprelay.errors import PeerFault
from rtprelay.values import Endpoint


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


class Config(msgspec.Struct, frozen=True, kw_only=True):
    settings: Settings
    listen_ng: tuple[Endpoint, ...]
    listen_cli: tuple[Endpoint, ...]
    backend: BackendChoice
    no_fallback: bool
    state_dir: Path
    bpf_path: Path
    flush: bool
    foreground: bool
    pidfile: Path | None
    log_level: int
    """As in syslog(3): 0 emergency ... 6 info, 7 debug."""
    log_stderr: bool
    log_format: LogFormat
    log_facility: str
    source: str
    """Where it was read from, for people."""
    notices: tuple[str, ...] = ()
    """What the operator should know and need not change: options that have no meaning here."""
