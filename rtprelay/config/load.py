"""Command line over file over defaults, made into a `Config`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from rtprelay.config.addresses import HostAddress, host_addresses
from rtprelay.config.command_line import read_command_line
from rtprelay.config.files import explain, read_toml
from rtprelay.config.ini import read_ini
from rtprelay.config.options import DtlsCertCipher, DtlsSignature, MosFormula, Options, PmtuDiscovery, spelled
from rtprelay.config.schema import BackendChoice, Config, ConfigError, ControlConfig, LogFormat
from rtprelay.config.specs import access_lists, check_ports, interface_aliases, listen_endpoints, media_interfaces
from rtprelay.core.settings import Settings
from rtprelay.ice.agent import CONSENT_EXPIRY
from rtprelay.security.dtls import CIPHERS, MTU, check_ciphers
from rtprelay.signalling.command import EndpointLearning
from rtprelay.signalling.options import parse_flag, tokens
from rtprelay.signalling.templates import DEFAULT
from rtprelay.values import Endpoint

DEFAULT_FILE = Path("/etc/rtprelay/rtprelay.toml")
LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
FACILITIES = frozenset({"daemon", "user", "syslog", *(f"local{number}" for number in range(8))})

T = TypeVar("T")


def load(arguments: Sequence[str]) -> Config:
    """Raises ConfigError; --help and --version print and exit."""
    given, ignored = read_command_line(arguments)
    try:
        said = msgspec.convert(spelled(given), Options, strict=False)
    except msgspec.ValidationError as error:
        key, message = explain(error)
        raise ConfigError(f"--{key}: {message}") from error
    file_options, source, ignored_in_file = _read_file(said)
    notices = [f"rtpengine option {name} has no meaning here and is ignored" for name in (*ignored, *ignored_in_file)]
    if isinstance(said.templates, str):
        if not isinstance(file_options.templates, dict):
            raise ConfigError("--templates names a section of an INI file")
        said = msgspec.structs.replace(said, templates=None)
    options = _over(said, file_options)
    return _configure(options, source, [*notices, *_unknown_flags(options)])


def _read_file(said: Options) -> tuple[Options, str, tuple[str, ...]]:
    if said.config_file == "none" or (said.config_file is None and not DEFAULT_FILE.exists()):
        return Options(), "no file", ()
    path = Path(said.config_file or DEFAULT_FILE)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error
    if path.suffix == ".toml":
        return read_toml(path, text), str(path), ()
    section = said.templates if isinstance(said.templates, str) else None
    options, ignored = read_ini(path, text, said.config_section or "rtpengine", section)
    return options, str(path), ignored


def _over(upper: Options, lower: Options) -> Options:
    said = {name: value for name in Options.__struct_fields__ if (value := getattr(upper, name)) is not None}
    return msgspec.structs.replace(lower, **said)


def _unknown_flags(options: Options) -> list[str]:
    templates = options.templates if isinstance(options.templates, dict) else {}
    words = ((name, word) for name, text in templates.items() for word in tokens(text))
    return [f"template {name}: nobody knows the flag {word}" for name, word in words if parse_flag(word) is None]


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _configure(options: Options, source: str, notices: list[str]) -> Config:
    low, high = _or(options.port_min, 30000), _or(options.port_max, 40000)
    check_ports(low, high)
    host = host_addresses()
    specs = _or(options.interface, ("any",))
    interfaces = media_interfaces(specs, (low, high), host)
    if not interfaces:
        raise ConfigError("interface: this host has no address to relay media from")
    control = _control(options)
    if options.dtls_signature is DtlsSignature.SHA1:
        notices.append("dtls-signature SHA-1: certificates are signed with SHA-256, browsers take nothing else")
    for kind, endpoints in control.listen.items():
        if not control.acl[kind] and not (control.token_file and kind not in ("ng", "cli")):
            notices += [
                f"control port {endpoint} is open to every host that can reach it"
                for endpoint in endpoints
                if endpoint.unspecified
            ]
    formulas = _or(options.mos, ())
    notices += [
        f"mos {formula.value}: scores are those of G.107"
        for formula in formulas
        if formula in (MosFormula.LEGACY, MosFormula.G107_FULLBAND)
    ]
    table = _or(options.table, 0)
    backend = _or(options.backend, BackendChoice.USERSPACE if table < 0 else BackendChoice.AUTO)
    no_fallback = _or(options.no_fallback, False)
    if no_fallback and backend in (BackendChoice.USERSPACE, BackendChoice.MEMORY):
        raise ConfigError(f"no-fallback asks for the kernel, backend {backend.value} never uses it")
    suffix = f"-{table}" if table > 0 else ""
    return Config(
        settings=Settings(
            interfaces=interfaces,
            interface_aliases=interface_aliases(specs, interfaces),
            save_interface_ports=_or(options.save_interface_ports, False),
            timeout=_or(options.timeout, 60.0),
            silent_timeout=_or(options.silent_timeout, 3600.0),
            offer_timeout=_or(options.offer_timeout, 3600.0),
            final_timeout=_or(options.final_timeout, 0.0),
            delete_delay=_or(options.delete_delay, 30.0),
            endpoint_learning=_or(options.endpoint_learning, EndpointLearning.HEURISTIC),
            tos=_or(options.tos, 0),
            port_quarantine=_or(options.port_quarantine, 5.0),
            max_sessions=_or(options.max_sessions, -1),
            max_load=_or(options.max_load, 0.0),
            max_cpu=_or(options.max_cpu, 0.0),
            max_bandwidth=_or(options.max_bandwidth, 0),
            unheard_bandwidth=_or(options.unheard_bandwidth, 1_000_000),
            ice_consent_timeout=_or(options.ice_consent_timeout, CONSENT_EXPIRY),
            dtls_ciphers=_ciphers(_or(options.dtls_ciphers, CIPHERS)),
            dtls_mtu=_or(options.dtls_mtu, MTU),
            reject_invalid_sdp=_or(options.reject_invalid_sdp, False),
            control_tos=_or(options.control_tos, 0),
            control_addresses=_control_addresses(
                [endpoint for endpoints in control.listen.values() for endpoint in endpoints], host
            ),
        ),
        control=control,
        backend=backend,
        no_fallback=no_fallback,
        state_dir=Path(options.state_dir) if options.state_dir else _default_state_dir(suffix),
        bpf_path=Path(_or(options.bpf_path, f"/sys/fs/bpf/rtprelay{suffix}")),
        flush=_or(options.flush, False),
        foreground=_or(options.foreground, False),
        pidfile=Path(options.pidfile) if options.pidfile else None,
        dtls_key_type=_or(options.dtls_cert_cipher, DtlsCertCipher.PRIME256V1).key_type,
        dtls_rsa_bits=_or(options.dtls_rsa_key_size, 2048),
        listening_quality=MosFormula.LISTENING in formulas,
        drain_on_stop=_or(options.drain_on_stop, 0.0),
        log_level=6 if options.log_level is None else _level(options.log_level),
        log_stderr=_or(options.log_stderr, False),
        log_format=_or(options.log_format, LogFormat.DEFAULT),
        log_facility=_facility(_or(options.log_facility, "daemon")),
        source=source,
        notices=tuple(notices),
    )


def _ciphers(text: str) -> str:
    try:
        check_ciphers(text)
    except ValueError as error:
        raise ConfigError(f"dtls-ciphers: {error}") from error
    return text


def _control(options: Options) -> ControlConfig:
    listen = {
        "ng": _listen(_or(options.listen_ng, ("127.0.0.1:2223",))),
        "tcp-ng": _listen(_or(options.listen_tcp_ng, ())),
        "tls-ng": _listen(_or(options.listen_tls_ng, ())),
        "http": _listen(_or(options.listen_http, ())),
        "https": _listen(_or(options.listen_https, ())),
        "cli": _listen(_or(options.listen_cli, ())),
    }
    for kind in ("tls-ng", "https"):
        if listen[kind] and not options.https_cert:
            raise ConfigError(f"listen-{kind} needs https-cert")
    return ControlConfig(
        listen=listen,
        acl=access_lists(_or(options.control_acl, ())),
        token_file=Path(options.control_token_file) if options.control_token_file else None,
        certificate=Path(options.https_cert) if options.https_cert else None,
        key=Path(options.https_key) if options.https_key else None,
        client_ca=Path(options.https_client_ca) if options.https_client_ca else None,
        connections=_or(options.control_connections, 512),
        rate=_or(options.control_rate, 5000.0),
        timeout=_or(options.control_timeout, 10.0),
        discover_mtu=None if options.control_pmtu is None else options.control_pmtu is PmtuDiscovery.WANT,
        templates=_templates(options),
        metrics_prefix=_or(options.metrics_prefix, "rtpengine_"),
    )


def _templates(options: Options) -> dict[str, str]:
    """Those given, and what options say for every request."""
    given = options.templates if isinstance(options.templates, dict) else {}
    always = [
        f for said, f in ((options.sip_source, "SIP-source-address"), (options.dtls_passive, "DTLS=passive")) if said
    ]
    return {**given, DEFAULT: " ".join((*always, given.get(DEFAULT, "")))} if always else given


def _listen(specs: Sequence[str | int]) -> tuple[Endpoint, ...]:
    return tuple(dict.fromkeys(endpoint for spec in specs for endpoint in listen_endpoints(spec)))


def _control_addresses(endpoints: Sequence[Endpoint], host: Sequence[HostAddress]) -> tuple[str, ...]:
    """Every address and port at which somebody may talk to a control port."""
    return tuple(
        str(Endpoint(address, endpoint.port))
        for endpoint in endpoints
        for address in ([item.address for item in host] if endpoint.unspecified else [endpoint.address])
    )


def _default_state_dir(suffix: str) -> Path:
    if os.geteuid() == 0:
        return Path(f"/var/lib/rtprelay{suffix}")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / f"rtprelay{suffix}"


def _level(level: int | str) -> int:
    if isinstance(level, str):
        if level.lstrip("-").isdigit():
            return _level(int(level))
        matches = [number for number, name in enumerate(LEVELS) if level and name.startswith(level.lower())]
        if len(matches) != 1:
            raise ConfigError(f"log-level {level!r} is none of {', '.join(LEVELS)}")
        return matches[0]
    return min(max(level, 0), 7)


def _facility(name: str) -> str:
    if name not in FACILITIES:
        raise ConfigError(f"log-facility {name!r} is none of {', '.join(sorted(FACILITIES))}")
    return name
