"""baresip as a softphone: registers, plays a tone into its calls, records what it hears.

Theory of operation: the module ctrl_tcp takes commands and tells events, both as JSON in netstrings. Audio comes from a
file (`aufile`), what was decoded is dumped to another (`sndfile`, a filter in front of the player); the player itself
is a bridge that leads nowhere, because there is no sound card.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Self

from tests.e2e.harness import audio
from tests.e2e.harness.lab import Site
from tests.e2e.harness.polling import until
from tests.e2e.harness.programs import Program

_CONFIG = """\
poll_method epoll
sip_listen {address}:{port}
call_local_timeout 120
call_max_calls 4
audio_source aufile,{directory}/source.wav
audio_player aubridge,nowhere
audio_alert aubridge,nowhere
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
audio_buffer 20-160
net_interface {interface}
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module_tmp account.so
module_tmp uuid.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
snd_path {directory}
"""


class Baresip:
    """One softphone. `hertz` is the tone it plays for the `seconds` of its source file; `secured`: SRTP or nothing."""

    def __init__(
        self,
        user: str,
        site: Site,
        port: int,
        proxy: tuple[str, int],
        workdir: Path,
        hertz: int,
        seconds: float = 20,
        secured: bool = False,
    ) -> None:
        self.site = site
        self.proxy = proxy
        self.directory = workdir / f"{user}-{port}"
        self.directory.mkdir()
        control = port + 1000
        interface = site.ip4 if site.interface == "lo" else site.interface
        (self.directory / "config").write_text(
            _CONFIG.format(address=site.ip4, port=port, control=control, interface=interface, directory=self.directory)
        )
        account = f"<sip:{user}@{proxy[0]}:{proxy[1]};transport=udp>;regint=600;answermode=auto;audio_codecs=PCMU"
        account += ";mediaenc=srtp-mand" if secured else ""
        (self.directory / "accounts").write_text(account + "\n")
        (self.directory / "contacts").write_text("")
        audio.write_wav(self.directory / "source.wav", audio.tone(hertz, seconds))
        self._events: list[dict[str, object]] = []
        self._pending = b""
        self.program = Program(
            ["baresip", "-f", str(self.directory)],
            log=self.directory / "log",
            namespace=site.namespace,
            cwd=self.directory,
        )
        until(lambda: self._connect(control), "baresip to listen")
        self.program.says("200 OK")

    def _connect(self, port: int) -> bool:
        assert self.program.running, self.program.text[-3000:]
        self._control = self.site.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._control.connect(("127.0.0.1", port))
        except OSError:
            self._control.close()
            return False
        self._control.setblocking(False)
        return True

    def command(self, command: str, params: str = "") -> None:
        text = json.dumps({"command": command, "params": params})
        self._control.sendall(f"{len(text)}:{text},".encode())

    def dial(self, user: str) -> None:
        self.command("dial", f"sip:{user}@{self.proxy[0]}:{self.proxy[1]}")

    def hang_up(self) -> None:
        self.command("hangup")

    def sees(self, event: str, seconds: float = 10) -> dict[str, object]:
        """Wait for an event such as CALL_ESTABLISHED."""

        def find() -> dict[str, object] | None:
            return next((item for item in self._collect() if item.get("type") == event), None)

        found = until(find, f"{event} at {self.directory.name}", seconds)
        assert found
        return found

    def _collect(self) -> list[dict[str, object]]:
        assert self.program.running, self.program.text[-3000:]
        try:
            self._pending += self._control.recv(65536)
        except BlockingIOError:
            return self._events
        while b":" in self._pending:
            length, _, rest = self._pending.partition(b":")
            end = int(length)
            if len(rest) <= end:
                break
            self._events.append(json.loads(rest[:end]))
            self._pending = rest[end + 1 :]
        return self._events

    def hears(self, seconds: float) -> None:
        """Wait until this much audio has been decoded and written."""
        size = seconds * audio.RATE * 2
        until(lambda: sum(path.stat().st_size for path in self._recordings()) > size, f"{seconds} s of audio")

    def recording(self) -> list[int]:
        """Everything decoded; read it after the call."""
        return [sample for path in self._recordings() for sample in audio.read_wav(path)]

    def _recordings(self) -> list[Path]:
        return sorted(self.directory.glob("dump-*-dec.wav"))

    def stop(self) -> None:
        self._control.close()
        self.program.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
