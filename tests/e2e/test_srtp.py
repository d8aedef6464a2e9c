"""SRTP agreed by SDES (RFC 4568), with real audio and video, and what is told of its keys.

ffmpeg (caller namespace) == SRTP ==> west [ relay ] east == SRTP, another key ==> ffmpeg (callee namespace)
                                                          == RTP ==> ffmpeg
"""

from __future__ import annotations

import base64
import re
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.harness import ffmpeg, sdp, srtp
from tests.e2e.harness.polling import until
from tests.e2e.harness.stage import Stage, open_stage

PLAIN, SECURED = {"transport-protocol": "RTP/AVP"}, {"transport-protocol": "RTP/SAVP", "DTLS": "off"}


def secured(description: str, key: bytes) -> str:
    """The same media as SRTP, all under this key."""
    line = f"a=crypto:{srtp.crypto(key)}\r\n"
    return re.sub(r"(m=.*) RTP/AVP (.*\r\n)", rf"\1 RTP/SAVP \2{line}", description)


def with_own_keys(answer: str) -> str:
    """A recorder reads its SDP for what it gets; what it would send is under another key."""
    return re.sub(r"inline:\S+", lambda _: srtp.crypto(srtp.new_key()).split()[-1], answer)


@pytest.mark.parametrize("receivers", [(SECURED,), (PLAIN,), (SECURED, PLAIN, SECURED)], ids=["srtp", "rtp", "three"])
def test_real_audio_and_video_come_through_unharmed(scene: Stage, receivers: tuple[dict[str, str], ...]) -> None:
    if not scene.relay.ours:
        pytest.skip("rtpengine's own SRTP is not ours to test")
    lab = scene.lab
    directory = scene.workdir / f"srtp-{len(list(scene.workdir.iterdir()))}"
    directory.mkdir()
    source = directory / "source.mkv"
    ffmpeg.encode(source, 3)
    key = srtp.new_key()
    with ExitStack() as stack:
        ng = stack.enter_context(scene.relay.client())
        ports = ffmpeg.Ports(5010, 5012)
        offer = secured(ffmpeg.describe(source, lab.caller, ports), key)
        published = sdp.sections(ng.publish("studio", "camera", offer).sdp)
        recorders = []
        for number, wanted in enumerate(receivers):
            suite = {"SDES": [f"only-{srtp.SUITE}"]}
            subscription = ng.subscribe("studio", "camera", **wanted, **suite)
            assert len(srtp.agreed(subscription.sdp)) == (2 if wanted is SECURED else 0)
            ports_here = ffmpeg.Ports(20100 + 4 * number, 20102 + 4 * number)
            answer = ffmpeg.answer(subscription.sdp, lab.callee, ports_here)
            ng.subscribed("studio", subscription.text("to-tag"), with_own_keys(answer))
            recorder = ffmpeg.Recorder(lab.callee, directory, f"recorder-{number}", answer, ports_here)
            stack.callback(recorder.program.end)
            recorders.append(recorder)
        until(lambda: all(recorder.listens() for recorder in recorders), "the recorders to listen", 20)
        agreed = srtp.SUITE, base64.b64encode(key).decode()
        with scene.relay.reading_at_most(0, rtcp=12):
            camera = stack.enter_context(
                ffmpeg.publish(source, lab.caller, ports, published[0].rtp, published[1].rtp, agreed)
            )
            assert camera.wait(20) == 0, camera.text
        for recorder in recorders:
            recorder.finish()
        ng.delete("studio")
    for kind in ("v", "a"):
        expected = ffmpeg.frames(source, kind)
        assert len(expected) >= 60
        for recorder in recorders:
            seen = ffmpeg.frames(recorder.path, kind)
            # The BYE that ends a recording comes by another port, and may overtake the very last packet.
            assert seen == expected[: len(seen)], recorder.path
            assert len(seen) >= len(expected) - 1, recorder.path


def test_a_call_goes_on_when_the_daemon_is_killed(scene: Stage) -> None:
    """In the kernel as if nothing had happened. Userspace skips what it may have sent: numbers jump, and go on."""
    if not scene.relay.ours:
        pytest.skip("what rtpengine remembers is its own affair")
    with scene.relay.client() as ng:
        call, a = srtp.call(scene, ng, "survivor")
        call.talk(20)
        for _ in range(2):
            scene.relay.kill()
            scene.relay.start()
            call.forget()
            for _ in range(20):
                a.send(call.a_target, 1)
                call.b.send(call.b_target, 1)
            for listener, speaker in ((a, call.b), (call.b, a)):
                listener.hears(20)
                assert [seen.payload for seen in listener.received] == [packet[12:] for packet in speaker.sent]
        if scene.relay.in_kernel:
            call.talk(20)
        ng.delete("survivor")
        call.close()


def test_keys_are_in_no_log_and_shown_on_request_alone(kind: str, tmp_path: Path) -> None:
    """At the highest level, with everything about the call traced, and with refusals on the way."""
    with open_stage(kind, tmp_path, "--log-level=7") as stage:
        if not stage.relay.ours:
            pytest.skip("rtpengine logs every SDP")
        with stage.relay.client() as ng:
            call, a = srtp.call(stage, ng, "secret")
            stage.relay.console("debug secret on")
            shown = stage.relay.console("--keys list sessions secret")
            keys = [base64.b64decode(key) for key in re.findall(r"inline:(\S+)", shown)]
            assert len(keys) == 2
            assert a.key in keys
            call.talk(10)
            for malformed in (b"\x00", a.sealed(a.next_packet())[:-1], a.wire[-1], a.wire[0]):
                a.throw(malformed, call.a_target)
            secret = base64.b64encode(a.key).decode()
            offer = sdp.describe(a.address, [a.port], extra=(f"a=crypto:1 {srtp.SUITE} inline:{secret}!",))
            for body in (offer, offer.replace("RTP/AVP", "RTP/SAVP"), offer.replace("m=audio", "m=audio x")):
                ng.command("offer", {"call-id": "secret", "from-tag": "a", "sdp": body})
            ng.command("answer", {"call-id": "secret", "from-tag": "a", "to-tag": "z", "sdp": offer})
            for line in ("list sessions secret", "call secret info", "list flows secret", "list jsonstats"):
                shown = stage.relay.console(line) + stage.relay.console(f"--json {line}")
                assert not any(written(key, shown) for key in keys)
            assert ng.command("cli", {"body": "--keys list sessions secret"}).text("response").startswith("Keys are")
            ng.delete("secret")
            call.close()
        stage.relay.stop()
        log = stage.relay.log.read_text()
        assert "secret" in log
        assert not any(written(key, log) for key in keys)


def written(key: bytes, text: str) -> bool:
    """In any of the ways a key may be written; the first half of it will do."""
    half = key[:15]
    return any(form in text for form in (base64.b64encode(half).decode(), half.hex(), half.hex(" "), repr(half)[2:-1]))


def test_the_maps_are_root_s_alone(scene: Stage) -> None:
    if not scene.relay.in_kernel:
        pytest.skip("no maps")
    root = scene.relay.bpf_path
    assert (root / "maps" / "rtprelay_srtp_keys").exists()
    for path in (root, root / "maps", *(root / "maps").iterdir(), root / "list"):
        status = path.stat()
        assert status.st_uid == 0
        assert not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO), path
