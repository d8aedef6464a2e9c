"""Programs the tests start: each in a namespace, its words in a file, ended by its process id."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.e2e.harness.polling import until
from tools.netns import Namespace


class Program:
    """A running program. Use as a context manager, or `end` it."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        namespace: Namespace | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        command = namespace.command(*argv) if namespace else list(argv)
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the program itself: nsenter and setpriv exec into it."""
        return self._process.pid

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def says(self, words: str, seconds: float = 10.0) -> None:
        """Wait until the program has written `words`."""

        def said() -> bool:
            found = words in self.text
            assert found or self.running, f"{self.argv[0]} ended with {self.exit_code}:\n{self.text[-4000:]}"
            return found

        until(said, f"{self.argv[0]} to say {words!r}", seconds)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """The exit code, once the program has ended by itself."""
        until(lambda: not self.running, f"{' '.join(self.argv)} to end", seconds)
        return self._process.wait()

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self._process.kill()
        self._process.wait()

    def end(self, seconds: float = 5.0) -> None:
        """SIGTERM, then SIGKILL after `seconds`."""
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
