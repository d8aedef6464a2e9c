"""A headless Chromium with a fake microphone and camera, driven over a pipe: `python browser.py` runs in the party's
namespace and takes one JSON request per line, `Browser` is its owner in the test.

The page never touches a network of its own: its one document is made up, at an https address, because only there
getUserMedia is allowed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tools.netns import Namespace

CHROMIUM = "/usr/bin/chromium"
_ROOT = Path(__file__).resolve().parents[3]
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--allow-loopback-in-peer-connection",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
_PAGE = """
const peers = {};
const found = (name) => peers[name].pc;
async function make(name, kinds, policy) {
  const pc = new RTCPeerConnection({bundlePolicy: policy});
  const trickled = [];
  pc.onicecandidate = (e) => { if (e.candidate && e.candidate.candidate) trickled.push(e.candidate.candidate); };
  peers[name] = {pc, trickled};
  if (kinds.length) {
    const wanted = {audio: kinds.includes('audio'), video: kinds.includes('video')};
    const stream = await navigator.mediaDevices.getUserMedia(wanted);
    stream.getTracks().forEach(track => pc.addTrack(track, stream));
  }
  pc.ontrack = (e) => {
    const element = document.createElement(e.track.kind);
    element.autoplay = true;
    element.srcObject = e.streams[0] || new MediaStream([e.track]);
    document.body.appendChild(element);
  };
}
async function gathered(pc) {
  if (pc.iceGatheringState !== 'complete')
    await new Promise(done => { pc.onicegatheringstatechange =
      () => { if (pc.iceGatheringState === 'complete') done(); }; });
  return pc.localDescription.sdp;
}
async function offer(name, options, trickle) {
  const pc = found(name);
  const description = await pc.createOffer(options);
  await pc.setLocalDescription(description);
  return trickle ? description.sdp : await gathered(pc);
}
async function answer(name, sdp) {
  const pc = found(name);
  await pc.setRemoteDescription({type: 'offer', sdp});
  await pc.setLocalDescription(await pc.createAnswer());
  return await gathered(pc);
}
async function accept(name, sdp) { await found(name).setRemoteDescription({type: 'answer', sdp}); }
async function trickled(name) { await gathered(found(name)); return peers[name].trickled; }
async function close(name) { found(name).close(); delete peers[name]; }
async function stats(name) {
  const pc = found(name);
  const out = {connection: pc.connectionState, ice: pc.iceConnectionState};
  (await pc.getStats()).forEach(s => {
    if (s.type === 'inbound-rtp') out['in_' + s.kind] =
      {packets: s.packetsReceived, lost: s.packetsLost, frames: s.framesDecoded || 0, energy: s.totalAudioEnergy || 0};
    if (s.type === 'outbound-rtp') out['out_' + s.kind] = {packets: s.packetsSent};
    if (s.type === 'transport') out.dtls = s.dtlsState;
  });
  return out;
}
window.api = {make, offer, answer, accept, trickled, close, stats};
0
"""


class Browser:
    """Each peer connection has a name."""

    def __init__(self, namespace: Namespace, log: Path) -> None:
        self._words = log.open("ab")
        command = namespace.command(sys.executable, "-m", "tests.e2e.harness.browser")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, cwd=_ROOT, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._words.close()

    def call(self, function: str, *arguments: Any) -> Any:
        """The result of a function of the page; an exception there is one here."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([function, arguments]) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline() or '{"error": "the browser is gone"}')
        assert "error" not in reply, reply
        return reply["value"]

    def make(self, name: str, *kinds: str, policy: str = "balanced") -> None:
        self.call("make", name, kinds, policy)

    def offer(self, name: str, *, restart: bool = False, trickle: bool = False) -> str:
        return str(self.call("offer", name, {"iceRestart": restart}, trickle))

    def answer(self, name: str, sdp: str) -> str:
        return str(self.call("answer", name, sdp))

    def accept(self, name: str, sdp: str) -> None:
        self.call("accept", name, sdp)

    def stats(self, name: str) -> dict[str, Any]:
        return dict(self.call("stats", name))

    def close(self, name: str) -> None:
        self.call("close", name)


def _serve() -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        page = browser.new_context(permissions=["microphone", "camera"]).new_page()
        page.route("**/*", lambda route: route.fulfill(body="<body></body>", content_type="text/html"))
        page.goto("https://localhost/")
        page.evaluate(_PAGE)
        for line in sys.stdin:
            function, arguments = json.loads(line)
            try:
                value = page.evaluate("([f, a]) => window.api[f](...a)", [function, arguments])
                reply = {"value": value}
            except Exception as error:
                reply = {"error": str(error)}
            print(json.dumps(reply), flush=True)
        browser.close()


if __name__ == "__main__":
    _serve()
