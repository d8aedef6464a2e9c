"""The process around the relay: background, pid file, limits. All of it before the event loop exists."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

from rtprelay.errors import OurFault


def daemonize() -> Callable[[str], None]:
    """Go on in a background process.

    The foreground one waits for the returned function to be called: with "" it exits with status 0 (the relay answers);
    with a text, or when the relay dies before, it prints why and exits with 1.
    """
    reader, writer = os.pipe()
    if os.fork() != 0:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            message = pipe.read().decode()
        if message == "ready":
            os._exit(0)
        os.write(2, (message or "rtprelay: died while starting\n").encode())
        os._exit(1)
    os.close(reader)
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")

    def report(failure: str) -> None:
        os.write(writer, f"rtprelay: {failure}\n".encode() if failure else b"ready")
        os.close(writer)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.close(null)

    return report


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """The process id in a file for as long as the relay runs."""
    if path is None:
        yield
        return
    try:
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise OurFault(f"pidfile {path}: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def raise_descriptor_limit(wanted: int) -> int:
    """Allow as many open files as `wanted` where this process may; the number now allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
    return soft
