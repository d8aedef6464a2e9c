"""ffmpeg as camera, microphone and recorder: encodes once, publishes over RTP, records what a subscriber gets.

Frames are compared by their MD5, in order and without their times: a recorder starts its own clock.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness.lab import Site
from tests.e2e.harness.programs import Program
from tests.e2e.harness.rtp import Address
from tools.netns import run

_QUIET = ("ffmpeg", "-hide_banner", "-loglevel", "warning", "-nostdin")


def encode(path: Path, seconds: int) -> None:
    """A test picture in H.264 with a key frame every half second, and a tone in Opus."""
    run(
        *(*_QUIET, "-f", "lavfi", "-i", "testsrc=size=320x240:rate=20", "-f", "lavfi", "-i", "sine=440:r=48000"),
        *("-t", str(seconds), "-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-g", "10"),
        *("-b:v", "300k", "-c:a", "libopus", "-ac", "2", "-b:a", "48k", str(path)),
    )


@dataclass(frozen=True)
class Ports:
    audio: int
    video: int


def describe(source: Path, site: Site, ports: Ports) -> str:
    """The SDP ffmpeg writes for its two RTP streams, as if they were received at the site's own ports.

    ffmpeg writes it only while it sends; those packets end at the site itself.
    """
    sdp_file = source.with_suffix(".sdp")
    outputs: list[str] = []
    for kind, port in (("a", ports.audio), ("v", ports.video)):
        outputs += ["-map", f"0:{kind}", "-c", "copy", "-t", "0.1", "-f", "rtp", f"rtp://{site.ip4}:{port}"]
    site.namespace.run(*_QUIET, "-i", str(source), *outputs, "-sdp_file", str(sdp_file))
    text = sdp_file.read_text()
    return "\r\n".join(line for line in text.splitlines() if not line.startswith(("SDP:", "a=tool"))) + "\r\n"


def answer(offer: str, site: Site, ports: Ports) -> str:
    """What a recorder at these ports answers to a subscription: the offer with its own address, ports and direction."""
    lines: list[str] = []
    for line in offer.splitlines():
        if line.startswith("m="):
            kind, _, rest = line[2:].split(" ", 2)
            lines.append(f"m={kind} {ports.audio if kind == 'audio' else ports.video} {rest}")
        elif line.startswith("c="):
            lines.append(f"c=IN IP4 {site.ip4}")
        elif line == "a=sendonly":
            lines.append("a=recvonly")
        elif not line.startswith("a=rtcp:"):
            lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def publish(
    source: Path, site: Site, ports: Ports, audio: Address, video: Address, srtp: tuple[str, str] | None = None
) -> Program:
    """Send the file at its own pace, from the ports the relay was told; `srtp`: suite and key, in base64."""
    scheme, options = (
        ("rtp", []) if srtp is None else ("srtp", ["-srtp_out_suite", srtp[0], "-srtp_out_params", srtp[1]])
    )
    outputs: list[str] = []
    for kind, port, (host, target) in (("a", ports.audio, audio), ("v", ports.video, video)):
        url = f"{scheme}://{host}:{target}?localrtpport={port}&localrtcpport={port + 1}"
        url += f"&localaddr={site.ip4}&pkt_size=1200"
        outputs += ["-map", f"0:{kind}", "-c", "copy", "-f", "rtp", "-rtpflags", "send_bye", *options, url]
    log = source.with_suffix(".publish.log")
    return Program([*_QUIET, "-re", "-i", str(source), *outputs], log=log, namespace=site.namespace)


class Recorder:
    """Writes what arrives at two local ports to a file."""

    def __init__(self, site: Site, directory: Path, name: str, answer: str, ports: Ports) -> None:
        self.site = site
        self.ports = ports
        self.path = directory / f"{name}.mkv"
        sdp_file = directory / f"{name}.sdp"
        sdp_file.write_text(answer)
        argv = [*_QUIET, "-protocol_whitelist", "file,udp,rtp,srtp", "-buffer_size", "4194304", "-i", str(sdp_file)]
        argv += ["-map", "0", "-c", "copy", "-y", str(self.path)]
        self.program = Program(argv, log=directory / f"{name}.log", namespace=site.namespace)

    def listens(self) -> bool:
        assert self.program.running, self.program.text
        bound = bound_udp_ports(self.site)
        return self.ports.audio in bound and self.ports.video in bound

    def finish(self) -> None:
        """Wait for its end: a recorder stops when every stream has said RTCP BYE (RFC 3550 section 6.6)."""
        assert self.program.wait() == 0, self.program.text


def bound_udp_ports(site: Site) -> set[int]:
    """The UDP ports of the namespace that somebody listens to."""

    def read() -> set[int]:
        lines = Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]
        return {int(line.split()[1].rpartition(":")[2], 16) for line in lines}

    return site.namespace.call(read)


def frames(path: Path, kind: str) -> list[str]:
    """The MD5 of every decoded video frame ("v") or of every audio packet ("a"); decoding must not complain."""
    codec = ["-c", "copy"] if kind == "a" else []
    done = subprocess.run(
        [*_QUIET, "-i", str(path), "-map", f"0:{kind}", *codec, "-f", "framemd5", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search("error|corrupt|missing|concealing", done.stderr, re.IGNORECASE), done.stderr
    # stream, dts, pts, duration, size, MD5; what follows is about side data, which RTP does not carry.
    return [line.split(",")[5].strip() for line in done.stdout.splitlines() if not line.startswith("#")]
