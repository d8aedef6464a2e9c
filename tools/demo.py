"""`make demo`: one call with real audio through the relay, its death and its return, to look at.

    caller namespace          relay namespace           callee namespace
    192.0.2.2  wire --------- west 192.0.2.1   rtprelay
                              198.51.100.1  east -------- wire  198.51.100.2
    ffmpeg plays a tune                                   ffmpeg records it

The packets counted are those the two ends' kernels have sent and received: the relay is not asked. Half-way it is
killed with SIGKILL, later started again. Needs root: namespaces, eBPF.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tools.netns import Namespace, run, veth

CALLER, CALLEE = "192.0.2.2", "198.51.100.2"
WEST, EAST = "192.0.2.1", "198.51.100.1"
MEDIA_PORT = 4000
NG_PORT = 2223
SECONDS = 16
KILL_AT, RESTART_AT = 5, 10
TUNE = "sin(2*PI*t*(392+131*mod(floor(t*2)\\,3)))*0.3"
PROGRAMS = ("ffmpeg", "ip", "nsenter", "ethtool")


class Stage:
    """The three namespaces, and the relay in the middle one."""

    def __init__(self, stack: ExitStack, directory: Path, backend: str) -> None:
        self.caller, self.relay, self.callee = (
            stack.enter_context(Namespace(label)) for label in ("caller", "relay", "callee")
        )
        self.directory = directory
        self.pins = Path("/sys/fs/bpf") / self.relay.name
        for user, address, end, own in ((self.caller, CALLER, "west", WEST), (self.callee, CALLEE, "east", EAST)):
            veth(user, "wire", self.relay, end)
            user.address("wire", f"{address}/24")
            self.relay.address(end, f"{own}/24")
            user.route("default", own)
        self._command = [
            *(sys.executable, "-m", "rtprelay", "-f", "-E", "--config-file=none", f"--backend={backend}"),
            *(f"-iwest/{WEST}", f"-ieast/{EAST}", f"-n127.0.0.1:{NG_PORT}", "-c127.0.0.1:9900"),
            *(f"--state-dir={directory / 'state'}", f"--bpf-path={self.pins}"),
        ]
        self._daemon: subprocess.Popen[bytes] | None = None
        stack.callback(self.flush)

    def start(self) -> None:
        self._daemon = subprocess.Popen(self.relay.command(*self._command))
        while self.ask({"command": "ping"}, patience=0.2) is None:
            if self._daemon.poll() is not None:
                raise SystemExit("the relay did not start")

    def kill(self) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGKILL)
        self._daemon.wait()
        self._daemon = None

    def flush(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()
        self.relay.run(*self._command, "--flush", check=False)

    def ask(self, message: dict[str, Any], patience: float = 5.0) -> dict[str, Any] | None:
        """An ng command and its reply; None where nobody answers."""
        with self.relay.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(patience)
            sock.connect(("127.0.0.1", NG_PORT))
            try:
                sock.send(f"{time.monotonic_ns()} {json.dumps(message)}".encode())
                reply: dict[str, Any] = json.loads(sock.recv(65535).split(b" ", 1)[1])
            except OSError:
                time.sleep(0.05)
                return None
        return reply

    def call(self) -> str:
        """Set the call up; where the caller has to send to."""
        offer = {"command": "offer", "call-id": "demo", "from-tag": "caller", "sdp": sdp(CALLER)}
        answer = {**offer, "command": "answer", "to-tag": "callee", "sdp": sdp(CALLEE)}
        sides = {"direction": ["west", "east"]}
        for message in (offer | sides, answer):
            reply = self.ask(message)
            if reply is None or reply["result"] != "ok":
                raise SystemExit(f"{message['command']}: {reply}")
        assert reply is not None
        address, port = re.search(r"c=IN IP4 (\S+)", reply["sdp"]), re.search(r"m=audio (\d+)", reply["sdp"])
        assert address is not None
        assert port is not None
        return f"{address[1]}:{port[1]}"

    def state(self) -> str:
        """What the relay process is and has used: it sees no packet of a call that is set up."""
        if self._daemon is None:
            return "dead"
        fields = Path(f"/proc/{self._daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return f"{(int(fields[11]) + int(fields[12])) * 10} ms of CPU since its start"


def sdp(address: str) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {MEDIA_PORT} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )


def play(stage: Stage, target: str) -> subprocess.Popen[bytes]:
    source = ["-re", "-f", "lavfi", "-i", f"aevalsrc={TUNE}:s=8000:d={SECONDS - 2}"]
    rtp = f"rtp://{target}?localrtpport={MEDIA_PORT}&localrtcpport={MEDIA_PORT + 1}&pkt_size=172"
    return subprocess.Popen(
        stage.caller.command("ffmpeg", "-nostdin", "-loglevel", "error", *source, "-c:a", "pcm_alaw", "-f", "rtp", rtp),
        stdout=subprocess.DEVNULL,
    )


def record(stage: Stage, file: Path) -> subprocess.Popen[bytes]:
    description = stage.directory / "callee.sdp"
    description.write_text(sdp(CALLEE))
    return subprocess.Popen(
        stage.callee.command(
            *("ffmpeg", "-nostdin", "-loglevel", "fatal", "-y", "-protocol_whitelist", "file,udp,rtp"),
            *("-i", str(description), "-t", str(SECONDS - 3), str(file)),
        )
    )


def watch(stage: Stage) -> None:
    began, sent, heard = time.monotonic(), stage.caller.snmp()["OutDatagrams"], stage.callee.snmp()["InDatagrams"]
    for second in range(1, SECONDS + 1):
        time.sleep(max(0.0, began + second - time.monotonic()))
        if second == KILL_AT:
            print("        kill -9 of the relay")
            stage.kill()
        if second == RESTART_AT:
            print("        the relay is started again")
            stage.start()
            known = stage.ask({"command": "list"})
            print(f"        it knows the calls {known['calls'] if known else None}")
        out = stage.caller.snmp()["OutDatagrams"] - sent
        back = stage.callee.snmp()["InDatagrams"] - heard
        print(
            f"  {second:>3} s   caller sent {out:>4}   callee received {back:>4}   relay: {stage.state()}", flush=True
        )


def judge(file: Path) -> None:
    """Is it a tune that was recorded?"""
    report = subprocess.run(
        ["ffmpeg", "-nostdin", "-i", str(file), "-af", "volumedetect", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    facts = re.findall(r"(Duration: [\d:.]+|mean_volume: \S+ dB)", report)
    print(f"\nrecorded: {file} ({', '.join(facts)})")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="A call with real audio through the relay.")
    parser.add_argument("--backend", default="auto", help="auto (default), ebpf, tc or userspace")
    options = parser.parse_args()
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        print(f"needs root{' and ' + ', '.join(missing) if missing else ''}", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="rtprelay-demo-"))
    with ExitStack() as stack:
        stage = Stage(stack, directory, options.backend)
        stage.start()
        target = stage.call()
        print(f"\ncaller {CALLER}  ->  relay {target} ... {EAST}  ->  callee {CALLEE}\n")
        recorder = record(stage, directory / "callee.wav")
        player = play(stage, target)
        watch(stage)
        flows = stage.pins / "list"
        if flows.exists():
            print(f"\n$ cat {flows}\n{run('cat', str(flows))}")
        for program in (player, recorder):
            program.terminate()
            program.wait()
    judge(directory / "callee.wav")
    return 0


if __name__ == "__main__":
    sys.exit(main())
