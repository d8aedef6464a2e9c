"""Every option once, for files and the command line alike: its type in `Options`, its letter and help in `WORDS`.

The names are rtpengine's where it has the option, so that scripts and files carry over.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from rtprelay.config.schema import LISTENERS, BackendChoice, LogFormat
from rtprelay.ice.agent import CONSENT_EXPIRY
from rtprelay.security.certificate import KeyType
from rtprelay.security.dtls import MIN_MTU
from rtprelay.signalling.command import EndpointLearning

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]


class DtlsCertCipher(enum.Enum):
    """As rtpengine spells it."""

    PRIME256V1 = "prime256v1"
    RSA = "RSA"

    @property
    def key_type(self) -> KeyType:
        return KeyType.RSA if self is DtlsCertCipher.RSA else KeyType.ECDSA


class DtlsSignature(enum.Enum):
    """As rtpengine spells them."""

    SHA256 = "SHA-256"
    SHA1 = "SHA-1"
    """Understood, but nothing is signed so any more."""


class MosFormula(enum.Enum):
    """As rtpengine spells them."""

    CONVERSATIONAL = "CQ"
    LISTENING = "LQ"
    G107 = "G.107"
    G107_FULLBAND = "G.107.2"
    """Understood, but there is one formula: that of G.107."""
    LEGACY = "legacy"
    """The same."""


class PmtuDiscovery(enum.Enum):
    """As rtpengine spells it."""

    WANT = "want"
    DONT = "dont"


class InterfaceTable(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """An interface as a TOML table, for those with their own port range."""

    address: str
    name: str = "default"
    advertised: str | None = None
    port_min: Port | None = None
    port_max: Port | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """What was said; None where nothing was."""

    config_file: str | None = None
    config_section: str | None = None
    interface: tuple[str | InterfaceTable, ...] | None = None
    save_interface_ports: bool | None = None
    port_min: Port | None = None
    port_max: Port | None = None
    listen_ng: tuple[str | int, ...] | None = None
    listen_tcp_ng: tuple[str | int, ...] | None = None
    listen_tls_ng: tuple[str | int, ...] | None = None
    listen_http: tuple[str | int, ...] | None = None
    listen_https: tuple[str | int, ...] | None = None
    listen_cli: tuple[str | int, ...] | None = None
    https_cert: str | None = None
    https_key: str | None = None
    https_client_ca: str | None = None
    control_token_file: str | None = None
    control_acl: tuple[str, ...] | None = None
    control_connections: Annotated[int, msgspec.Meta(ge=1)] | None = None
    control_rate: Annotated[float, msgspec.Meta(ge=0)] | None = None
    control_timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    metrics_prefix: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")] | None = None
    table: int | None = None
    backend: BackendChoice | None = None
    no_fallback: bool | None = None
    state_dir: str | None = None
    bpf_path: str | None = None
    flush: bool | None = None
    timeout: Seconds | None = None
    silent_timeout: Seconds | None = None
    offer_timeout: Seconds | None = None
    final_timeout: Seconds | None = None
    delete_delay: Seconds | None = None
    port_quarantine: Seconds | None = None
    endpoint_learning: EndpointLearning | None = None
    tos: Byte | None = None
    max_sessions: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    max_load: Annotated[float, msgspec.Meta(ge=0)] | None = None
    max_cpu: Annotated[float, msgspec.Meta(ge=0)] | None = None
    max_bandwidth: Annotated[int, msgspec.Meta(ge=0)] | None = None
    unheard_bandwidth: Annotated[int, msgspec.Meta(ge=0)] | None = None
    drain_on_stop: Seconds | None = None
    ice_consent_timeout: Annotated[float, msgspec.Meta(ge=1, le=CONSENT_EXPIRY)] | None = None
    dtls_cert_cipher: DtlsCertCipher | None = None
    dtls_rsa_key_size: Annotated[int, msgspec.Meta(ge=2048, le=8192)] | None = None
    dtls_signature: DtlsSignature | None = None
    dtls_ciphers: str | None = None
    dtls_mtu: Annotated[int, msgspec.Meta(ge=MIN_MTU, le=16384)] | None = None
    dtls_passive: bool | None = None
    sip_source: bool | None = None
    reject_invalid_sdp: bool | None = None
    control_tos: Byte | None = None
    control_pmtu: PmtuDiscovery | None = None
    mos: tuple[MosFormula, ...] | None = None
    templates: str | dict[str, str] | None = None
    """A section's name, or what is in it."""
    foreground: bool | None = None
    pidfile: str | None = None
    log_stderr: bool | None = None
    log_level: int | str | None = None
    log_format: LogFormat | None = None
    log_facility: str | None = None


class Words(NamedTuple):
    """How an option is written and explained; without `value` it is a switch."""

    help: str
    value: str = ""
    letter: str = ""


WORDS = {
    "config-file": Words("TOML, or rtpengine's INI; none: no file (default: /etc/rtprelay/rtprelay.toml)", "FILE|none"),
    "config-section": Words("section of an INI file (default: rtpengine)", "NAME"),
    "interface": Words(
        "local address for media: IP, device or any; or another name of one: ALIAS=NAME; repeatable (default: any)",
        "[NAME/]ADDRESS[!ADVERTISED]",
        "i",
    ),
    "save-interface-ports": Words(
        "open ports at one address of an interface only, the first of the family that has some; ICE has to do with it",
        "",
        "S",
    ),
    "port-min": Words("lowest media port (default: 30000)", "INT", "m"),
    "port-max": Words("highest media port (default: 40000)", "INT", "M"),
    "listen-ng": Words("UDP address for the ng protocol; repeatable (default: 127.0.0.1:2223)", "[HOST:]PORT", "n"),
    "listen-tcp-ng": Words("TCP address for the ng protocol; repeatable (default: none)", "[HOST:]PORT", "N"),
    "listen-tls-ng": Words("the same over TLS; repeatable (default: none)", "[HOST:]PORT"),
    "listen-http": Words("address for HTTP and WebSockets; repeatable (default: none)", "[HOST:]PORT"),
    "listen-https": Words("address for HTTPS and secure WebSockets; repeatable (default: none)", "[HOST:]PORT"),
    "listen-cli": Words("TCP address for rtprelay-ctl; repeatable (default: none)", "[HOST:]PORT", "c"),
    "https-cert": Words("certificate of the TLS listeners, PEM, with those that lead to its authority", "FILE"),
    "https-key": Words("its private key (default: in the certificate's file)", "FILE"),
    "https-client-ca": Words("let in TLS clients only whose certificate this authority has signed", "FILE"),
    "control-token-file": Words("bearer tokens, one a line: HTTP, WebSocket and ng/TCP clients need one", "FILE"),
    "control-acl": Words(
        "who may use the control ports, or those of a kind: ng, tcp-ng, tls-ng, http, https, cli; repeatable",
        "[KIND=]CIDR[,CIDR...]",
    ),
    "control-connections": Words("connections to control ports, at most (default: 512)", "INT"),
    "control-rate": Words("messages per second from an address over TCP, at most; 0: any (default: 5000)", "NUMBER"),
    "control-timeout": Words("for a request to be complete and a reply to be taken (default: 10)", "SECS"),
    "metrics-prefix": Words("of the names Prometheus sees (default: rtpengine_)", "TEXT"),
    "table": Words("instance number; -1: forward in userspace (default: 0)", "INT", "t"),
    "backend": Words("auto, ebpf, tc, userspace or memory (default: auto)", "NAME"),
    "no-fallback": Words("do not start when the kernel cannot forward", "", "F"),
    "state-dir": Words("where the journal is kept (default: /var/lib/rtprelay)", "DIR"),
    "bpf-path": Words("where maps and links are pinned (default: /sys/fs/bpf/rtprelay)", "DIR"),
    "flush": Words("detach, unpin and forget everything a relay left behind, then exit"),
    "timeout": Words("end a call when no media came for so long (default: 60)", "SECS", "o"),
    "silent-timeout": Words("the same for muted and inactive media (default: 3600)", "SECS", "s"),
    "offer-timeout": Words("end a call that was never answered (default: 3600)", "SECS"),
    "final-timeout": Words("end every call after so long; 0: never (default: 0)", "SECS", "a"),
    "delete-delay": Words("keep a deleted call for so long (default: 30)", "SECS", "d"),
    "port-quarantine": Words("do not give a closed port out again for so long (default: 5)", "SECS"),
    "endpoint-learning": Words("heuristic, delayed, immediate or off (default: heuristic)", "HOW"),
    "tos": Words("IP TOS byte of media packets (default: 0)", "INT", "T"),
    "max-sessions": Words("refuse further calls above so many; -1: no limit (default: -1)", "INT"),
    "max-load": Words("refuse further calls while the load average is above this; 0: never (default: 0)", "NUMBER"),
    "max-cpu": Words("the same, in percent of all cores' time (default: 0)", "NUMBER"),
    "max-bandwidth": Words("the same, in bytes of media per second (default: 0)", "INT"),
    "unheard-bandwidth": Words(
        "send nothing to a party never heard for which more bytes per second come in; 0: any number (default: 1000000)",
        "INT",
    ),
    "drain-on-stop": Words(
        "on SIGTERM refuse further calls and wait at most so long for the last one to end (default: 0)", "SECS"
    ),
    "ice-consent-timeout": Words(
        "stop sending to an ICE peer that has not answered a consent check for so long (1 to 30; default: 30)", "SECS"
    ),
    "dtls-cert-cipher": Words("key of the DTLS certificate: prime256v1 or RSA (default: prime256v1)", "NAME"),
    "dtls-rsa-key-size": Words("bits of an RSA key (default: 2048)", "INT"),
    "dtls-signature": Words("hash the certificate is signed with: SHA-256", "NAME"),
    "dtls-ciphers": Words("ciphers of DTLS handshakes, as OpenSSL writes them", "LIST"),
    "dtls-mtu": Words("bytes of a DTLS handshake datagram (default: 1200)", "INT"),
    "dtls-passive": Words("the flag DTLS=passive in every request"),
    "sip-source": Words("the flag SIP-source-address in every request that does not say trust-address"),
    "reject-invalid-sdp": Words("refuse SDP with lines that are none of SDP, even a blank one at its end"),
    "control-tos": Words("IP TOS byte of ng replies over UDP (default: 0)", "INT"),
    "control-pmtu": Words("discover the path's MTU for ng replies over UDP and IPv4: want or dont", "want|dont"),
    "mos": Words(
        "score of a call: CQ, conversational, or LQ, listening: as CQ without the round trip; repeatable (default: CQ)",
        "CQ|LQ",
    ),
    "templates": Words("section of an INI file with named sets of flags; in TOML the table [templates]", "NAME"),
    "foreground": Words("do not fork into the background", "", "f"),
    "pidfile": Words("write the process id to this file", "FILE", "p"),
    "log-stderr": Words("log to stderr instead of syslog", "", "E"),
    "log-level": Words("0 to 7 as in syslog(3), or a name such as debug (default: 6, info)", "LEVEL", "L"),
    "log-format": Words("default, parsable or json (default: default)", "NAME"),
    "log-facility": Words("daemon, local0 ... local7 (default: daemon)", "NAME"),
}

REPEATABLE = frozenset({"interface", "control-acl", "mos", *(f"listen-{kind}" for kind in LISTENERS)})
"""Given several times on the command line, as a list in TOML, with semicolons between in INI."""

CHOICES: dict[str, type[enum.Enum]] = {
    "backend": BackendChoice,
    "control-pmtu": PmtuDiscovery,
    "dtls-cert-cipher": DtlsCertCipher,
    "dtls-signature": DtlsSignature,
    "endpoint-learning": EndpointLearning,
    "log-format": LogFormat,
    "mos": MosFormula,
}


def spelled(given: Mapping[str, Any]) -> dict[str, Any]:
    """With the words of CHOICES as they are spelled here, in whatever case they came."""
    return {key: _word(CHOICES[key], value) if key in CHOICES else value for key, value in given.items()}


def _word(choices: type[enum.Enum], value: Any) -> Any:
    if isinstance(value, list):
        return [_word(choices, one) for one in value]
    known = {str(item.value).lower(): item.value for item in choices}
    return known.get(value.lower(), value) if isinstance(value, str) else value
