"""Configuration: rtpengine's spelling on the command line and in INI, ours in TOML; errors name line and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rtprelay.config.addresses import HostAddress, host_addresses
from rtprelay.config.load import load
from rtprelay.config.options import REPEATABLE, WORDS, InterfaceTable, Options
from rtprelay.config.rtpengine import IGNORED, LETTERS
from rtprelay.config.schema import LISTENERS, BackendChoice, Config, ConfigError
from rtprelay.config.specs import listen_endpoints, media_interfaces
from rtprelay.core.settings import MediaInterface
from rtprelay.signalling.command import EndpointLearning
from rtprelay.values import Endpoint

HOST = (
    HostAddress("lo", "127.0.0.1", public=False),
    HostAddress("eth0", "192.0.2.1", public=True),
    HostAddress("eth1", "198.51.100.1", public=True),
    HostAddress("lo", "::1", public=False),
    HostAddress("eth0", "2001:db8::1", public=True),
    HostAddress("eth0", "fe80::1", public=False),
)
CONF = Path(__file__).parents[2] / "conf" / "rtprelay.toml"


def given(*arguments: str) -> Config:
    return load(["--config-file=none", "-i", "127.0.0.1", *arguments])


def written(tmp_path: Path, name: str, text: str) -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def addresses(spec: str | InterfaceTable, host: tuple[HostAddress, ...] = HOST) -> list[tuple[str, str, str | None]]:
    return [(item.name, item.address, item.advertised) for item in media_interfaces([spec], (30000, 40000), host)]


# --- interfaces and listening addresses ---


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("192.0.2.1", [("default", "192.0.2.1", None)]),
        ("pub/192.0.2.1", [("pub", "192.0.2.1", None)]),
        ("192.0.2.1!203.0.113.9", [("default", "192.0.2.1", "203.0.113.9")]),
        ("pub/2001:db8::1!2001:DB8:0::2", [("pub", "2001:db8::1", "2001:db8::2")]),
        ("pub/[2001:db8::1]", [("pub", "2001:db8::1", None)]),
        ("int/eth0", [("int", "192.0.2.1", None), ("int", "2001:db8::1", None)]),
        ("int/lo", [("int", "127.0.0.1", None), ("int", "::1", None)]),
        ("any!203.0.113.9", [("default", "192.0.2.1", "203.0.113.9"), ("default", "198.51.100.1", "203.0.113.9")]),
        ("any", [("default", "192.0.2.1", None), ("default", "198.51.100.1", None), ("default", "2001:db8::1", None)]),
    ],
)
def test_an_interface_is_an_address_a_device_or_any(spec: str, found: list[tuple[str, str, str | None]]) -> None:
    assert addresses(spec) == found


def test_a_host_without_other_addresses_relays_on_loopback() -> None:
    assert addresses("any", HOST[:1]) == [("default", "127.0.0.1", None)]


@pytest.mark.parametrize("spec", ["", "/192.0.2.1", "pub/", "192.0.2.1!", "192.0.2.1!no-address", "no-such.invalid"])
def test_an_interface_that_says_nothing_is_refused_by_name(spec: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(spec.rpartition("!")[2] if "no-" in spec else spec))):
        addresses(spec)


def test_the_same_interface_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pub/192\.0\.2\.1 is given twice"):
        media_interfaces(["pub/192.0.2.1", "pub/192.0.2.1"], (2, 3), HOST)


def test_an_interface_may_have_another_name() -> None:
    config = given("-i", "pub:1/127.0.0.2", "-i", "public=pub:1", "-i", "all=default")
    assert [item.name for item in config.settings.interfaces] == ["default", "pub:1"]
    assert config.settings.interface_aliases == {"public": "pub:1", "all": "default"}


@pytest.mark.parametrize("spec", ["public=nobody", "default=default", "=default"])
def test_another_name_of_nothing_or_of_two_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"interface {spec!r}")):
        given("-i", spec)


def test_a_table_has_a_port_range_of_its_own() -> None:
    table = InterfaceTable(address="192.0.2.1", name="pub", port_min=100, port_max=200)
    assert media_interfaces([table, "192.0.2.1"], (30000, 40000), HOST) == (
        MediaInterface(name="pub", address="192.0.2.1", port_min=100, port_max=200),
        MediaInterface(name="default", address="192.0.2.1", port_min=30000, port_max=40000),
    )
    with pytest.raises(ConfigError, match="port-min 30000 is above port-max 200"):
        media_interfaces([InterfaceTable(address="192.0.2.1", port_max=200)], (30000, 40000), HOST)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("127.0.0.1:2223", [Endpoint("127.0.0.1", 2223)]),
        ("[::1]:2223", [Endpoint("::1", 2223)]),
        ("::1:2223", [Endpoint("::1", 2223)]),
    ],
)
def test_a_listening_address_is_host_and_port(spec: str, found: list[Endpoint]) -> None:
    assert list(listen_endpoints(spec)) == found


def test_a_bare_port_listens_on_every_address() -> None:
    found = listen_endpoints(2223)
    assert Endpoint("0.0.0.0", 2223) in found
    assert set(found) <= {Endpoint("0.0.0.0", 2223), Endpoint("::", 2223)}
    assert listen_endpoints("2223") == found


@pytest.mark.parametrize("spec", ["", "localhost", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:\u0663"])
def test_no_port_is_no_listening_address(spec: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{spec!r} is no [HOST:]PORT")):
        listen_endpoints(spec)


def test_the_hosts_own_addresses_are_found() -> None:
    found = host_addresses()
    assert HostAddress("lo", "127.0.0.1", public=False) in found
    assert not [item for item in found if item.public and item.address.startswith(("127.", "fe80:"))]


# --- the command line ---


def test_without_any_option_the_documented_defaults_hold() -> None:
    config = given()
    assert config.control.listen["ng"] == (Endpoint("127.0.0.1", 2223),)
    assert not any(config.control.listen[kind] for kind in LISTENERS if kind != "ng")
    assert config.settings.interfaces == (MediaInterface(name="default", address="127.0.0.1"),)
    assert (config.settings.timeout, config.settings.silent_timeout, config.settings.offer_timeout) == (60, 3600, 3600)
    assert (config.settings.delete_delay, config.settings.final_timeout, config.settings.tos) == (30, 0, 0)
    assert config.backend is BackendChoice.AUTO
    assert config.bpf_path == Path("/sys/fs/bpf/rtprelay")
    assert config.notices == ()


def test_the_letters_are_those_of_rtpengine() -> None:
    line = "-n 127.0.0.1:1 -c 127.0.0.1:2 -c 127.0.0.1:3 -m 100 -M 200 -o 1 -s 2 -a 3 -d 4 -T 184 -L 7 -fE -p /x"
    config = given(*line.split())
    assert config.control.listen["cli"] == (Endpoint("127.0.0.1", 2), Endpoint("127.0.0.1", 3))
    assert config.control.listen["ng"] == (Endpoint("127.0.0.1", 1),)
    settings = config.settings
    assert (settings.interfaces[0].port_min, settings.interfaces[0].port_max) == (100, 200)
    assert (settings.timeout, settings.silent_timeout, settings.final_timeout, settings.delete_delay) == (1, 2, 3, 4)
    assert (settings.tos, config.log_level, config.foreground, config.log_stderr) == (184, 7, True, True)
    assert config.pidfile == Path("/x")


def test_table_minus_one_is_userspace_and_others_have_paths_of_their_own() -> None:
    assert given("-t", "-1").backend is BackendChoice.USERSPACE
    assert given("-t", "-1", "--backend=tc").backend is BackendChoice.TC
    two = given("-t", "2")
    assert two.bpf_path == Path("/sys/fs/bpf/rtprelay-2")
    assert two.state_dir.name == "rtprelay-2"


def test_no_fallback_and_userspace_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="no-fallback"):
        given("-t", "-1", "-F")


def test_options_of_rtpengine_without_meaning_here_are_accepted_and_named_once() -> None:
    config = given("--redis", "127.0.0.1:6379/1", "-q", "--num-threads=4", "--num-threads=5", "-g", "127.0.0.1:9")
    assert [notice.split()[2] for notice in config.notices] == ["graphite", "no-redis-required", "num-threads", "redis"]


def test_an_unknown_option_ends_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        given("--no-such-option")
    assert ended.value.code == 2
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tos=256"], "--tos: Expected int <= 255"),
        (["--port-min=x"], "--port-min: Expected int, got str"),
        (["--port-max=100"], "port-min 30000 is above port-max 100"),
        (["--port-min=30001", "--port-max=30001"], "no even port and the next"),
        (["--port-min=30001", "--port-max=30002"], "no even port and the next"),
        (["--port-min=30000", "--port-max=30000"], "no even port and the next"),
        (["-ipub/192.0.2.1;priv/192.0.2.2"], "'pub/192.0.2.1;priv': no name has ';' or '/'"),
        (["--endpoint-learning=later"], "not one of heuristic, delayed, immediate, off"),
        (["--log-level=loud"], "log-level 'loud' is none of"),
        (["--log-facility=mail"], "log-facility 'mail' is none of"),
        (["--timeout=-1"], "--timeout: Expected float >= 0"),
    ],
)
def test_a_wrong_value_is_explained(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(*arguments)
    assert message in caught.value.reason


@pytest.mark.parametrize(("level", "number"), [("0", 0), ("7", 7), ("9", 7), ("-1", 0), ("debug", 7), ("Warn", 4)])
def test_a_log_level_is_a_number_or_a_name(level: str, number: int) -> None:
    assert given(f"--log-level={level}").log_level == number


def test_control_ports_are_never_a_media_destination_and_open_ones_are_named() -> None:
    config = given("-n", "192.0.2.1:2223", "-c", "9900")
    assert "192.0.2.1:2223" in config.settings.control_addresses
    assert "127.0.0.1:9900" in config.settings.control_addresses
    assert any("0.0.0.0:9900 is open" in notice for notice in config.notices)


def test_every_option_has_a_type_and_a_help_text_and_no_letter_is_given_twice() -> None:
    assert {name.replace("_", "-") for name in Options.__struct_fields__} == set(WORDS)
    letters = [words.letter for words in WORDS.values() if words.letter] + list(LETTERS)
    assert len(letters) == len(set(letters))
    assert not IGNORED & set(WORDS)
    assert set(LETTERS.values()) <= IGNORED
    assert set(WORDS) >= REPEATABLE


# --- files ---


def test_a_toml_file_is_read_and_the_command_line_wins(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "x.toml",
        """
        port-min = 20000
        timeout = 12.5
        listen-ng = [2223, "127.0.0.1:2224"]
        endpoint-learning = "off"
        [[interface]]
        name = "a"
        address = "192.0.2.1"
        [[interface]]
        address = "127.0.0.1"
        port-max = 21000
        """,
    )
    config = load(["--config-file", path, "--timeout=7"])
    assert config.settings.timeout == 7
    assert config.settings.endpoint_learning is EndpointLearning.OFF
    assert [(item.name, item.port_min, item.port_max) for item in config.settings.interfaces] == [
        ("a", 20000, 40000),
        ("default", 20000, 21000),
    ]
    assert Endpoint("127.0.0.1", 2224) in config.control.listen["ng"]
    assert config.source == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# one\nport-min = 1\nport-maxx = 2\n", ":3: unknown key 'port-maxx', did you mean port-max?"),
        ("\n\ntimeout = 'long'\n", ":3: timeout: Expected float, got str"),
        ("tos = 1\nbackend = 'xdp'\n", ":2: backend: Invalid enum value 'xdp', not one of auto, ebpf"),
        ("tos = 1\n[[interface]]\nname = 'a'\n", ":2: interface: Object missing required field address"),
        ("[[interface]]\naddress = '127.0.0.1'\nport = 1\n", ":1: interface: Object contains unknown field port"),
        ("foreground = 1\n", ":1: foreground: Expected bool, got int"),
        ("a = = 2\n", "line 1"),
    ],
)
def test_a_mistake_in_a_toml_file_is_named_with_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, "x.toml", text)
    with pytest.raises(ConfigError) as caught:
        load(["--config-file", path])
    assert caught.value.reason.startswith(path)
    assert message in caught.value.reason


def test_an_ini_file_of_rtpengine_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "rtpengine.conf",
        """[rtpengine]
# table = 3
table = -1
interface = internal/127.0.0.1;external/192.0.2.1!203.0.113.1
listen-ng = 127.0.0.1:2223; 127.0.0.1:2224
no-fallback = false
tos=184
num-threads = 16
something-new = yes

[second]
interface = 127.0.0.2
""",
    )
    config = load(["--config-file", path])
    assert [(item.name, item.advertised) for item in config.settings.interfaces] == [
        ("internal", None),
        ("external", "203.0.113.1"),
    ]
    assert len(config.control.listen["ng"]) == 2
    assert config.backend is BackendChoice.USERSPACE
    assert config.settings.tos == 184
    assert [notice.split()[2] for notice in config.notices] == ["num-threads", "something-new"]
    second = load(["--config-file", path, "--config-section=second"])
    assert second.settings.interfaces[0].address == "127.0.0.2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rtpengine]\n\ntos = high\n", ":3: tos: Expected int, got str"),
        ("[rtpengine]\nno-fallback = perhaps\n", ":2: no-fallback: Expected bool, got str"),
        ("tos = 1\n", "no section headers"),
        ("[other]\ntos = 1\n", "there is no section [rtpengine]"),
    ],
)
def test_a_mistake_in_an_ini_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["--config-file", written(tmp_path, "x.conf", text)])
    assert message in caught.value.reason


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: No such file"):
        load(["--config-file", str(tmp_path / "missing.toml")])


def test_the_shipped_file_says_the_truth_about_every_default(tmp_path: Path) -> None:
    """With every commented-out default switched on, the configuration is the one of an empty file."""
    text = CONF.read_text()
    examples = (
        r"interface|\[\[|name|address|advertised|pidfile|listen-|https-|control-token-file|control-acl|control-pmtu"
    )
    spelled_out = re.sub(rf"^#(?=(?!{examples})[a-z-]+ = )", "", text, flags=re.MULTILINE)
    spelled_out = re.sub(r"^port-min = 20000$|^port-max = 24999$", "", spelled_out, flags=re.MULTILINE)
    said = load(["--config-file", written(tmp_path, "said.toml", spelled_out), "--state-dir=/x", "--bpf-path=/y"])
    silent = load(
        ["--config-file", written(tmp_path, "silent.toml", ""), "-c127.0.0.1:9900", "--state-dir=/x", "--bpf-path=/y"]
    )
    assert said.settings == silent.settings
    for name in Config.__struct_fields__:
        if name != "source":
            assert getattr(said, name) == getattr(silent, name), name


# --- control ports ---


def test_every_transport_has_its_option() -> None:
    config = given(
        *("-N", "127.0.0.1:1", "--listen-tls-ng=[::1]:2", "--listen-http=127.0.0.1:3", "--listen-https=127.0.0.1:4"),
        *("--https-cert=/c", "--https-key=/k", "--https-client-ca=/a", "--control-token-file=/t"),
        *("--control-connections=5", "--control-rate=6.5", "--control-timeout=7", "--metrics-prefix=rtprelay_"),
    )
    control = config.control
    assert control.listen == {
        "ng": (Endpoint("127.0.0.1", 2223),),
        "tcp-ng": (Endpoint("127.0.0.1", 1),),
        "tls-ng": (Endpoint("::1", 2),),
        "http": (Endpoint("127.0.0.1", 3),),
        "https": (Endpoint("127.0.0.1", 4),),
        "cli": (),
    }
    files = (control.certificate, control.key, control.client_ca, control.token_file)
    assert files == (Path("/c"), Path("/k"), Path("/a"), Path("/t"))
    assert (control.connections, control.rate, control.timeout, control.metrics_prefix) == (5, 6.5, 7, "rtprelay_")
    assert config.settings.control_addresses == (
        *("127.0.0.1:2223", "127.0.0.1:1", "[::1]:2", "127.0.0.1:3", "127.0.0.1:4"),
    )


def test_rtpengines_spelling_of_the_transports_is_understood_in_its_file(tmp_path: Path) -> None:
    text = """[rtpengine]
interface = 127.0.0.1
listen-tcp-ng = 127.0.0.1:1;127.0.0.1:2
listen-https = 127.0.0.1:3
https-cert = /c.pem
"""
    config = load(["--config-file", written(tmp_path, "rtpengine.conf", text)])
    assert config.control.listen["tcp-ng"] == (Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2))
    assert config.control.certificate == Path("/c.pem")
    assert config.notices == ()


def test_a_kinds_own_access_lists_replace_the_general_ones() -> None:
    lists = ("192.0.2.0/24,2001:db8::/32", "cli=127.0.0.1", "cli=::1")
    acl = given(*(f"--control-acl={text}" for text in lists)).control.acl
    assert [str(network) for network in acl["ng"]] == ["192.0.2.0/24", "2001:db8::/32"]
    assert acl["https"] == acl["ng"]
    assert [str(network) for network in acl["cli"]] == ["127.0.0.1/32", "::1/128"]
    assert not any(given().control.acl.values())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--control-acl=192.0.2.1/24", "control-acl: 192.0.2.1/24 has host bits set"),
        ("--control-acl=nobody", "control-acl: 'nobody' does not appear to be"),
        ("--control-acl=udp=127.0.0.1", "'udp' is none of ng, tcp-ng, tls-ng, http, https, cli"),
        ("--control-acl=::ffff:192.0.2.0/120", "::ffff:192.0.2.0/120 is an IPv4 network in IPv6 spelling"),
        ("--listen-https=127.0.0.1:1", "listen-https needs https-cert"),
        ("--listen-tls-ng=127.0.0.1:1", "listen-tls-ng needs https-cert"),
        ("--metrics-prefix=9-", "--metrics-prefix: "),
        ("--control-timeout=0", "--control-timeout: "),
        ("--control-connections=0", "--control-connections: "),
    ],
)
def test_a_mistake_in_the_control_options_is_named(option: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(option)
    assert message in caught.value.reason


def test_a_control_port_open_to_everyone_is_told_of_unless_something_guards_it() -> None:
    assert [notice.split()[2] for notice in given("-n0.0.0.0:1", "-N0.0.0.0:2").notices] == ["0.0.0.0:1", "0.0.0.0:2"]
    assert given("-n0.0.0.0:1", "-N0.0.0.0:2", "--control-acl=10.0.0.0/8").notices == ()
    # No token is asked of datagrams.
    guarded = given("-n0.0.0.0:1", "-N0.0.0.0:2", "--control-token-file=/t")
    assert [notice.split()[2] for notice in guarded.notices] == ["0.0.0.0:1"]


def test_the_shipped_file_mentions_every_option() -> None:
    text = CONF.read_text()
    mentioned = set(re.findall(r"^#?([a-z-]+) = |^#?\[([a-z]+)\]$", text, flags=re.MULTILINE))
    mentioned = {name for names in mentioned for name in names if name}
    assert mentioned - {"name", "address", "advertised"} == set(WORDS) - {"config-file", "config-section", "flush"}
    assert tomllib.loads(text)["listen-ng"] == ["127.0.0.1:2223"]


# --- templates, and sections of interfaces ---


def test_a_table_of_templates_is_read(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[templates]\nWebRTC = "ICE=force SDES=off"\n"start recording" = "metadata=x"\n')
    config = load([f"--config-file={file}", "--interface=127.0.0.1"])
    assert config.control.templates == {"WebRTC": "ICE=force SDES=off", "start recording": "metadata=x"}
    assert config.notices == ()
    file.write_text('timeout = 5\ntemplates = "elsewhere"\n')
    with pytest.raises(ConfigError, match=r"c\.toml:2: templates: Expected a table"):
        load([f"--config-file={file}"])


RTPENGINE = """\
[rtpengine]
interface = 127.0.0.1
interfaces-config = media
{templates}
[media-more]
address = 127.0.0.2
advertised = 203.0.113.3
port-min = 20000
port-max = 20999
exclude-ports = 20010

[media-other]
name = pub
address = 127.0.0.3

[Named]
WebRTC = transport-protocol=UDP/TLS/RTP/SAVPF ICE=force rtcp-mux=[offer require] nonsense
"""


def test_rtpengines_other_sections_are_read(tmp_path: Path) -> None:
    file = tmp_path / "rtpengine.conf"
    file.write_text(RTPENGINE.format(templates="templates = Named\n"))
    config = load([f"--config-file={file}"])
    assert config.settings.interfaces == (
        MediaInterface(name="default", address="127.0.0.1"),
        MediaInterface(name="more", address="127.0.0.2", advertised="203.0.113.3", port_min=20000, port_max=20999),
        MediaInterface(name="pub", address="127.0.0.3"),
    )
    assert list(config.control.templates) == ["WebRTC"]
    assert config.notices == (
        "rtpengine option exclude-ports in [media-more] has no meaning here and is ignored",
        "template WebRTC: nobody knows the flag nonsense",
    )


def test_what_holds_for_every_request_is_part_of_the_default_template(tmp_path: Path) -> None:
    file = tmp_path / "rtpengine.conf"
    file.write_text("[rtpengine]\ninterface = 127.0.0.1\nsip-source = true\ndtls-passive = true\n")
    config = load(["--config-file", str(file)])
    assert config.control.templates == {"default": "SIP-source-address DTLS=passive "}
    assert config.notices == ()
    file = tmp_path / "c.toml"
    file.write_text('sip-source = true\n[templates]\ndefault = "ICE=remove"\noffer = "generate-mid"\n')
    config = load(["--config-file", str(file), "-i", "127.0.0.1"])
    assert config.control.templates == {"default": "SIP-source-address ICE=remove", "offer": "generate-mid"}


def test_the_command_line_may_name_the_section_of_templates(tmp_path: Path) -> None:
    file = tmp_path / "rtpengine.conf"
    file.write_text(RTPENGINE.format(templates=""))
    assert load([f"--config-file={file}"]).control.templates == {}
    assert list(load([f"--config-file={file}", "--templates=Named"]).control.templates) == ["WebRTC"]
    with pytest.raises(ConfigError, match=r"templates: there is no section \[Missing\]"):
        load([f"--config-file={file}", "--templates=Missing"])
    with pytest.raises(ConfigError, match="names a section of an INI file"):
        load(["--config-file=none", "--templates=Named"])


def test_what_dtls_is_to_be_like_is_read_from_rtpengines_file(tmp_path: Path) -> None:
    file = tmp_path / "rtpengine.conf"
    lines = ("dtls-mtu = 900", "dtls-ciphers = ECDHE-ECDSA-AES256-GCM-SHA384", "dtls-signature = SHA-256")
    file.write_text("[rtpengine]\ninterface = 127.0.0.1\n" + "".join(f"{line}\n" for line in lines))
    config = load([f"--config-file={file}"])
    assert (config.settings.dtls_mtu, config.settings.dtls_ciphers) == (900, "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert config.notices == ()
    config = load([f"--config-file={file}", "--dtls-signature=SHA-1", "--dtls-mtu=576"])
    assert config.settings.dtls_mtu == 576
    assert config.notices[0].startswith("dtls-signature SHA-1: ")


@pytest.mark.parametrize("option", ["--ice-consent-timeout=31", "--ice-consent-timeout=0"])
def test_consent_lasts_no_longer_than_the_rfc_has_it(option: str) -> None:
    assert load(["--config-file=none", "-i", "127.0.0.1"]).settings.ice_consent_timeout == 30
    assert (
        load(["--config-file=none", "-i", "127.0.0.1", "--ice-consent-timeout=2.5"]).settings.ice_consent_timeout == 2.5
    )
    with pytest.raises(ConfigError, match="ice-consent-timeout"):
        load(["--config-file=none", "-i", "127.0.0.1", option])


@pytest.mark.parametrize("option", ["--dtls-mtu=500", "--dtls-ciphers=rot13", "--dtls-signature=MD5"])
def test_what_dtls_cannot_be_like_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option.removeprefix("--").partition("=")[0]):
        load(["--config-file=none", "-i", "127.0.0.1", option])


def test_how_a_call_is_scored_and_what_is_one_formula_here() -> None:
    assert not given().listening_quality
    assert given("--mos=LQ").listening_quality
    config = given("--mos=LQ", "--mos=legacy")
    assert config.listening_quality
    assert config.notices == ("mos legacy: scores are those of G.107",)
    with pytest.raises(ConfigError, match=r"mos: Invalid enum value 'high', not one of CQ, LQ"):
        given("--mos=high")
