"""A configuration read again: what can change while the relay runs does, the rest is named."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from rtprelay.config.load import load
from rtprelay.config.reload import CONTROL, PROCESS, SETTINGS, reload
from rtprelay.config.schema import Config


def given(*options: str) -> Config:
    return load(["--config-file=none", "--interface=127.0.0.1", *options])


CHANGING = [
    "timeout=1",
    "silent-timeout=1",
    "offer-timeout=1",
    "final-timeout=1",
    "delete-delay=1",
    "endpoint-learning=off",
    "tos=184",
    "max-sessions=1",
    "max-load=1",
    "max-cpu=1",
    "max-bandwidth=1",
    "unheard-bandwidth=1",
    "ice-consent-timeout=1",
    "reject-invalid-sdp",
    "control-tos=184",
    "control-acl=192.0.2.0/24",
    "log-level=3",
    "drain-on-stop=1",
]
WAITING = [
    "port-min=30100",
    "interface=::1",
    "listen-cli=127.0.0.1:9900",
    "backend=userspace",
    "state-dir=/elsewhere",
    "control-rate=1",
    "log-format=json",
]


@pytest.mark.parametrize("option", CHANGING)
def test_an_option_changes_at_once(option: str) -> None:
    outcome = reload(given(), given(f"--{option}"))
    assert outcome.changed == (option.partition("=")[0],)
    assert outcome.waiting == ()
    assert outcome.config == given(f"--{option}")


def test_all_that_can_change_is_tested() -> None:
    """Templates are no single option; they have a test of their own."""
    assert len(CHANGING) + 1 == len(SETTINGS) + len(CONTROL) + len(PROCESS)


def test_templates_change_at_once(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[templates]\nx = "ICE=force"\n')
    outcome = reload(given(), load([f"--config-file={file}", "--interface=127.0.0.1"]))
    assert (outcome.changed, outcome.waiting) == (("templates",), ())
    assert outcome.config.control.templates == {"x": "ICE=force"}


@pytest.mark.parametrize("option", WAITING)
def test_an_option_waits_for_the_next_start(option: str) -> None:
    outcome = reload(given(), given(f"--{option}"))
    name = option.partition("=")[0]
    spelled = {"port-min": "interface", "listen-cli": "listen-*"}.get(name, name)
    assert outcome.waiting == (spelled,)
    assert outcome.changed == ()
    assert outcome.config == given()


def test_some_change_and_some_wait() -> None:
    outcome = reload(given(), given("--timeout=5", "--table=3"))
    assert outcome.changed == ("timeout",)
    assert set(outcome.waiting) == {"state-dir", "bpf-path"}
    assert outcome.config == given("--timeout=5")


def test_the_same_configuration_changes_nothing() -> None:
    outcome = reload(given("--tos=8"), given("--tos=8"))
    assert (outcome.changed, outcome.waiting) == ((), ())


def test_access_lists_change_by_kind() -> None:
    outcome = reload(given(), given("--control-acl=cli=192.0.2.1"))
    assert outcome.config.control.acl["cli"] == (ipaddress.ip_network("192.0.2.1"),)
    assert outcome.config.control.acl["ng"] == ()
