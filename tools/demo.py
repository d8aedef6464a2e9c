"""`make demo`: a call with real audio through the relay, the relay's death and its return, to look at.

    caller namespace           relay namespace              callee namespace
    192.0.2.2  wire ---------- west 192.0.2.1   rtprelay
                               198.51.100.1  east --------- wire  198.51.100.2
    ffmpeg plays and records                                ffmpeg plays and records

Each party plays a melody of its own and records what it hears; ffmpeg cannot send and receive on one port, so the call
has two audio sections, one for each direction. The packets shown are those the kernels at both ends sent and received:
the relay is not asked. Half-way it is killed and started again, which nobody hears where the kernel forwards. The exit
status says whether both heard the other. Needs root: namespaces, eBPF. Everything is cleaned up.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import itertools
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.netns import Namespace, run, veth

ROOT = Path(__file__).resolve().parents[1]
BPFFS = Path("/sys/fs/bpf")
WEST, EAST = "192.0.2.1", "198.51.100.1"
NG_PORT, CLI_PORT = 2223, 9900
SECONDS = 10
KILL_AT, START_AT = 4, 7
PROGRAMS = ("ffmpeg", "ip", "nsenter", "ethtool")
FFMPEG = ("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y")
LOUD = 500
"""Root mean square of 16-bit samples; the melodies have about 4,600, silence has none."""


@dataclass(frozen=True)
class Party:
    """Who calls or is called: sends from one port, records at another."""

    name: str
    namespace: Namespace
    address: str
    relay: str
    """The relay's address on this party's side."""
    notes: tuple[int, ...]
    sends: int = 5000
    hears: int = 5002

    def section(self, port: int, direction: str) -> str:
        return f"m=audio {port} RTP/AVP 0\r\na={direction}\r\n"

    def sdp(self, *sections: str) -> str:
        session = f"v=0\r\no={self.name} 1 1 IN IP4 {self.address}\r\ns=-\r\nc=IN IP4 {self.address}\r\nt=0 0\r\n"
        return session + "".join(sections)

    def play(self, target: int) -> subprocess.Popen[bytes]:
        """Four notes a second in G.711, in real time; RTCP BYE at the end (RFC 3550 section 6.6)."""
        pitch = "+".join(f"{note}*eq(mod(floor(t*4),{len(self.notes)}),{at})" for at, note in enumerate(self.notes))
        melody = f"aevalsrc='0.2*sin(2*PI*t*({pitch}))':s=8000:d={SECONDS}"
        url = f"rtp://{self.relay}:{target}?localrtpport={self.sends}&localrtcpport={self.sends + 1}&pkt_size=172"
        output = ["-c:a", "pcm_mulaw", "-f", "rtp", "-rtpflags", "send_bye", url]
        return subprocess.Popen(
            self.namespace.command(*FFMPEG, "-re", "-f", "lavfi", "-i", melody, *output), stdout=subprocess.DEVNULL
        )

    def record(self, directory: Path) -> subprocess.Popen[bytes]:
        """Ends by itself when the other side has said BYE."""
        description = directory / f"{self.name}.sdp"
        description.write_text(self.sdp(self.section(self.hears, "recvonly")))
        argv = [*FFMPEG, "-protocol_whitelist", "file,udp,rtp", "-i", str(description), str(self.recording(directory))]
        return subprocess.Popen(self.namespace.command(*argv))

    def recording(self, directory: Path) -> Path:
        return directory / f"{self.name}.wav"

    def listens(self) -> bool:
        return f":{self.hears:04X} " in self.namespace.run("cat", "/proc/net/udp")

    def counts(self) -> tuple[int, int]:
        """Datagrams sent and received, by the kernel's books."""
        snmp = self.namespace.snmp()
        return snmp["OutDatagrams"], snmp["InDatagrams"]


class Relay:
    """The daemon in its namespace, spoken to as a proxy (ng, JSON) and as an operator (console) would."""

    def __init__(self, namespace: Namespace, directory: Path, backend: str) -> None:
        self._namespace = namespace
        self._argv = [sys.executable, "-m", "rtprelay", "-f", "-E", "--config-file=none", f"--backend={backend}"]
        self._argv += [
            "-i",
            f"west/{WEST}",
            "-i",
            f"east/{EAST}",
            f"--listen-ng=127.0.0.1:{NG_PORT}",
            f"--listen-cli=127.0.0.1:{CLI_PORT}",
        ]
        self._argv += [f"--state-dir={directory / 'state'}", f"--bpf-path={BPFFS / namespace.name}"]
        self._log = directory / "relay.log"
        self._cookies = itertools.count()
        self._process = self._launch()

    def _launch(self, *more: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._namespace.command(*self._argv, *more), cwd=ROOT, stderr=log, stdout=log)

    def start(self) -> None:
        if self._process.poll() is not None:
            self._process = self._launch()
        _wait(self._answers, "the relay to answer")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop, and take everything out of the kernel again."""
        _end(self._process)
        _end(self._launch("--flush"), patience=10)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def ng(self, command: str, **keys: str | list[str]) -> Mapping[str, object]:
        with self._namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.connect(("127.0.0.1", NG_PORT))
            body = {"command": command, **{key.replace("_", "-"): value for key, value in keys.items()}}
            client.send(f"demo{next(self._cookies)} {json.dumps(body)}".encode())
            reply: dict[str, object] = json.loads(client.recv(65536).partition(b" ")[2])
        if reply["result"] == "error":
            raise RuntimeError(f"{command}: {reply['error-reason']}")
        return reply

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the relay did not start:\n{self.log}")
        with contextlib.suppress(OSError):
            return self.ng("ping")["result"] == "pong"
        return False

    def console(self, line: str) -> str:
        with self._namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.connect(("127.0.0.1", CLI_PORT))
            client.sendall(line.encode() + b"\n")
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def cpu(self) -> str:
        """What the process has used: it sees no packet of a call that is set up."""
        if self._process.poll() is not None:
            return "dead"
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return f"{1000 * (int(fields[11]) + int(fields[12])) // os.sysconf('SC_CLK_TCK')} ms"

    @property
    def list_path(self) -> Path:
        """Where the kernel prints its flows; absent where it forwards none."""
        return BPFFS / self._namespace.name / "list"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="A call with real audio through the relay.")
    parser.add_argument("--backend", default="auto", help="auto (default), ebpf, tc or userspace")
    backend = parser.parse_args(arguments).backend
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        print(f"demo: needs root{' and ' + ', '.join(missing) if missing else ''}", file=sys.stderr)
        return 2
    try:
        heard = _demonstrate(backend)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as failure:
        print(f"\ndemo: {failure}", file=sys.stderr)
        return 1
    print("\nBoth heard the other." if heard else "\nThe audio did not arrive.")
    return 0 if heard else 1


def _demonstrate(backend: str) -> bool:
    """The call, from set-up to clean-up; whether the audio arrived."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtprelay-demo-")))
        caller, callee, relay = _set_up(stack, directory, backend)
        _show("The relay", relay.log)
        targets = _call(caller, callee, relay)
        recorders = [stack.enter_context(_ended(party.record(directory))) for party in (caller, callee)]
        _wait(lambda: caller.listens() and callee.listens(), "the recorders to listen")
        melodies = zip((caller, callee), targets, strict=True)
        players = [stack.enter_context(_ended(party.play(target))) for party, target in melodies]
        _watch(caller, callee, relay, players)
        for recorder in recorders:
            recorder.wait(timeout=10)
        _show("rtprelay-ctl list reasons", relay.console("list reasons"))
        relay.ng("delete", call_id="demo")
        judgements = [_judge(party, directory) for party in (caller, callee)]
    return all(judgements)


def _set_up(stack: contextlib.ExitStack, directory: Path, backend: str) -> tuple[Party, Party, Relay]:
    west, middle, east = (stack.enter_context(Namespace(label)) for label in ("caller", "relay", "callee"))
    caller = Party("caller", west, "192.0.2.2", WEST, notes=(440, 554, 659, 880))
    callee = Party("callee", east, "198.51.100.2", EAST, notes=(262, 330, 392))
    for party, end in ((caller, "west"), (callee, "east")):
        veth(party.namespace, "wire", middle, end)
        party.namespace.address("wire", f"{party.address}/24")
        middle.address(end, f"{party.relay}/24")
    if backend != "userspace" and not os.path.ismount(BPFFS):
        run("mount", "-t", "bpf", "bpf", str(BPFFS))
    relay = Relay(middle, directory, backend)
    stack.callback(relay.close)
    relay.start()
    return caller, callee, relay


def _call(caller: Party, callee: Party, relay: Relay) -> tuple[int, int]:
    """Offer and answer, as a proxy makes them of INVITE and 200; the relay ports caller and callee send to."""
    offer = caller.sdp(caller.section(caller.sends, "sendonly"), caller.section(caller.hears, "recvonly"))
    offered = str(relay.ng("offer", call_id="demo", from_tag="caller", sdp=offer, direction=["west", "east"])["sdp"])
    answer = callee.sdp(callee.section(callee.hears, "recvonly"), callee.section(callee.sends, "sendonly"))
    answered = str(relay.ng("answer", call_id="demo", from_tag="caller", to_tag="callee", sdp=answer)["sdp"])
    _show("The answer the caller gets", answered)
    return _ports(answered)[0], _ports(offered)[1]


def _ports(sdp: str) -> list[int]:
    return [int(port) for port in re.findall(r"^m=audio (\d+)", sdp, re.MULTILINE)]


def _watch(caller: Party, callee: Party, relay: Relay, players: Sequence[subprocess.Popen[bytes]]) -> None:
    """Second by second: what one end sent and the other received, and what it cost the daemon."""
    in_kernel = relay.list_path.exists()
    print("\n second   caller sent -> callee received   callee sent -> caller received   relay CPU")
    starts = caller.counts(), callee.counts()
    for second in itertools.count(1):
        with contextlib.suppress(subprocess.TimeoutExpired):
            players[0].wait(timeout=1)
        (a_out, a_in), (b_out, b_in) = (
            (sent - sent_before, received - received_before)
            for (sent, received), (sent_before, received_before) in zip(
                (caller.counts(), callee.counts()), starts, strict=True
            )
        )
        print(f" {second:>6}   {a_out:>11} -> {b_in:<15}   {b_out:>11} -> {a_in:<15}   {relay.cpu()}", flush=True)
        if in_kernel and second == KILL_AT - 1:
            _show(f"cat {relay.list_path}", relay.list_path.read_text())
        if in_kernel and second == KILL_AT:
            print("          kill -9 of the relay: the kernel goes on")
            relay.kill()
        if in_kernel and second == START_AT:
            relay.start()
            print(f"          the relay is started again; it knows the calls {relay.ng('list')['calls']}")
        if all(player.poll() is not None for player in players):
            return


def _judge(party: Party, directory: Path) -> bool:
    """Whether the recording is nearly as long as the melody, and loud."""
    samples = array.array("h")
    with wave.open(str(party.recording(directory)), "rb") as recording:
        rate = recording.getframerate()
        samples.frombytes(recording.readframes(recording.getnframes()))
    seconds = len(samples) / rate
    level = math.sqrt(sum(sample * sample for sample in samples) / len(samples)) if samples else 0.0
    print(f"{party.name}: heard {seconds:.1f} s of {SECONDS} s, level {level:.0f}")
    return seconds > 0.9 * SECONDS and level > LOUD


def _show(title: str, text: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}\n{text.rstrip()}\n", flush=True)


def _wait(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, ended when the demo is over or fails."""
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes], patience: float = 0) -> None:
    """Give it the time to end by itself, then SIGTERM, then SIGKILL."""
    for ask, seconds in ((None, patience), (process.terminate, 5), (process.kill, 5)):
        if ask:
            ask()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


if __name__ == "__main__":
    sys.exit(main())
