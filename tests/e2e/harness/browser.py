"""A headless Chromium with a fake microphone and camera, driven over a pipe: `python browser.py` runs in the party's
namespace, `Browser` is its owner in the test.

The page never touches a network of its own: its one document is made up, at an https address, because only there
getUserMedia is allowed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.e2e.harness.puppet import Puppet
from tools.netns import Namespace

CHROMIUM = "/usr/bin/chromium"
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
  pc.onicecandidate = (e) => {
    if (e.candidate && e.candidate.candidate) trickled.push([e.candidate.sdpMid, e.candidate.candidate]);
  };
  const peer = peers[name] = {pc, trickled, messages: []};
  const use = (channel) => { peer.channel = channel; channel.onmessage = (e) => peer.messages.push(e.data); };
  pc.ondatachannel = (e) => use(e.channel);
  if (kinds.includes('data')) use(pc.createDataChannel('chat'));
  if (kinds.includes('audio') || kinds.includes('video')) {
    const wanted = {audio: kinds.includes('audio'), video: kinds.includes('video')};
    const stream = await navigator.mediaDevices.getUserMedia(wanted);
    stream.getTracks().forEach(track => pc.addTrack(track, stream));
  }
  if (kinds.includes('screen')) pc.addTrack(...screen());
  pc.ontrack = (e) => {
    const element = document.createElement(e.track.kind);
    element.autoplay = true;
    element.srcObject = e.streams[0] || new MediaStream([e.track]);
    document.body.appendChild(element);
  };
}
function screen() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 160;
  const pen = canvas.getContext('2d');
  setInterval(() => { pen.fillStyle = `hsl(${performance.now() % 360}, 50%, 50%)`; pen.fillRect(0, 0, 160, 160); }, 50);
  const stream = canvas.captureStream(20);
  return [stream.getTracks()[0], stream];
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
async function say(name, text) {
  const channel = peers[name].channel;
  if (channel.readyState !== 'open') await new Promise(done => { channel.onopen = done; });
  channel.send(text);
}
async function heard(name) { return peers[name].messages; }
async function stop(name, kind) {
  found(name).getTransceivers().filter(t => t.receiver.track.kind === kind).forEach(t => t.stop());
}
async function audible(name) {
  let count = 0;
  (await found(name).getStats()).forEach(s => {
    if (s.type === 'inbound-rtp' && s.kind === 'audio' && s.totalAudioEnergy > 0.01) count += 1;
  });
  return count;
}
async function pictures(name) {
  const out = {};
  (await found(name).getStats()).forEach(s => {
    if (s.type === 'inbound-rtp' && s.kind === 'video') out[s.mid] = [s.framesDecoded, s.frameWidth, s.frameHeight];
  });
  return out;
}
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
window.api = {make, offer, answer, accept, trickled, say, heard, stop, audible, pictures, close, stats};
0
"""


class Browser(Puppet):
    """Chromium, in that namespace."""

    def __init__(self, namespace: Namespace, log: Path) -> None:
        super().__init__("tests.e2e.harness.browser", namespace, log)

    def make(self, name: str, *kinds: str, policy: str = "balanced") -> None:
        """A connection with tracks of these kinds; `data` is a data channel, `screen` a second, square picture."""
        self.call("make", name, kinds, policy)

    def offer(self, name: str, *, restart: bool = False, trickle: bool = False) -> str:
        return str(self.call("offer", name, {"iceRestart": restart}, trickle))

    def stop(self, name: str, kind: str) -> None:
        """No more of that kind, either way: the next offer has its section rejected."""
        self.call("stop", name, kind)

    def audible(self, name: str) -> int:
        """Audio streams that are not silent."""
        return int(self.call("audible", name))

    def pictures(self, name: str) -> dict[str, tuple[int, int, int]]:
        """Frames, width and height of the video received, by mid."""
        found = self.call("pictures", name)
        return {mid: (frames, width or 0, height or 0) for mid, (frames, width, height) in found.items()}

    def trickled(self, name: str) -> list[tuple[str, str]]:
        """(mid, a=candidate value) of all that it has gathered."""
        return [(mid, value) for mid, value in self.call("trickled", name)]


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
