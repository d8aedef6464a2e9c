"""What an operator does and sees: the kernel's list, the console, JSON, a second relay on the host, cleaning up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import sdp
from tests.e2e.harness.polling import until
from tests.e2e.harness.relay import ROOT, Relay
from tests.e2e.harness.stage import Stage, open_stage
from tools.bencode import encode


def test_the_kernel_prints_its_flows(scene: Stage) -> None:
    """`cat <bpf-path>/list`: as many packets as were sent, by the kernel's own word, and nothing after the call."""
    if not scene.relay.in_kernel:
        pytest.skip("no flows in the kernel")
    listing = scene.relay.bpf_path / "list"
    with scene.relay.client() as ng:
        call = scene.call_over_ng(ng, "printed")
        call.talk(30)
        text = listing.read_text()
        for (party, target), other in zip(call.directions, (call.b, call.a), strict=True):
            block = next(block for block in text.split("\n\n") if f"local inet4 {target[0]}:{target[1]}\n" in block)
            assert f"expect inet4 {party.address}:{party.port}" in block
            assert f"SSRC in: {party.ssrc:x}" in block
            assert " 30 packets" in block
            assert f"dst inet4 {other.address}:{other.port}" in block
        ng.delete("printed")
        assert str(call.a_target[1]) not in listing.read_text()
        call.close()


def test_interfaces_are_served_as_they_should_be(scene: Stage) -> None:
    modes = {"ebpf": ("'west' served by native", "'east' served by native"), "tc": ("'lo' served by tc",)}
    if scene.relay.kind not in modes:
        pytest.skip("nothing is attached")
    for mode in modes[scene.relay.kind]:
        assert mode in scene.relay.console("list interfaces")


def test_the_control_program_lists_a_call(scene: Stage) -> None:
    if not scene.relay.ours:
        pytest.skip("rtpengine brings its own")

    def ctl(*words: str) -> str:
        return scene.lab.relay.run(str(ROOT / ".venv/bin/rtprelay-ctl"), "-ip", "127.0.0.1:9900", *words)

    with scene.relay.client() as ng:
        call = scene.call_over_ng(ng, "listed")
        assert "listed" in ctl("list", "sessions", "all")
        assert "listed" in ctl("list", "sessions", "listed")
        ctl("terminate", "listed")
        assert not ng.knows("listed")
        call.close()


def test_ng_in_json(scene: Stage) -> None:
    with scene.relay.client(use_json=True) as ng:
        call = scene.call_over_ng(ng, "in-json")
        call.talk(20)
        assert ng.query("in-json").ok().number("totals", "RTP", "packets") == 40
        assert ng.calls() == ["in-json"]
        ng.delete("in-json")
        call.close()


def test_a_retransmission_is_answered_and_not_executed_again(scene: Stage) -> None:
    with scene.relay.client() as ng:
        description = sdp.describe(scene.lab.caller.ip4, [4000])
        offer = encode({"command": "offer", "call-id": "again", "from-tag": "a", "sdp": description})
        first = ng.exchange(b"same-cookie " + offer)
        assert b"6:result2:ok" in first
        ng.delete("again")
        assert ng.exchange(b"same-cookie " + offer) == first
        assert not ng.knows("again")


def test_two_relays_share_a_host(scene: Stage, tmp_path: Path) -> None:
    """Other control ports, other media ports, other pins; the same network devices."""
    if not scene.relay.ours:
        pytest.skip("rtpengine shares its kernel module in its own way")
    tmp_path.chmod(0o755)
    other = Relay(scene.lab, scene.relay.kind, tmp_path, ports=(45000, 45999), instance=1)
    other.start()
    try:
        with scene.relay.client() as ng, other.client() as other_ng:
            here = scene.call_over_ng(ng, "here")
            there = Stage(scene.lab, other, tmp_path).call_over_ng(other_ng, "there")
            for _ in range(2):
                here.talk(20)
                there.talk(20)
            assert ng.calls() == ["here"]
            assert other_ng.calls() == ["there"]
            other_ng.delete("there")
            ng.delete("here")
            here.close()
            there.close()
    finally:
        other.flush()


def test_flush_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    if kind.startswith("rtpengine"):
        pytest.skip("rtpengine has no such option")
    with open_stage(kind, tmp_path) as stage:
        with stage.relay.client() as ng:
            call = stage.call_over_ng(ng, "flushed")
            call.talk(10)
            call.close()
        stage.relay.flush()
        assert not stage.relay.bpf_path.exists()
        devices = stage.lab.relay.run("ip", "-d", "link")
        assert "xdp" not in devices
        for device in ("west", "east", "lo"):
            done = subprocess.run(
                stage.lab.relay.command("tc", "filter", "show", "dev", device, "ingress"),
                capture_output=True,
                text=True,
                check=False,
            )
            assert "bpf" not in done.stdout
        stage.relay.start()
        with stage.relay.client() as ng:
            until(lambda: ng.calls() == [], "a relay without calls")
