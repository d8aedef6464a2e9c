"""The relay's DTLS certificates in the state directory, so that its successor is who it was."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rtprelay.errors import OurFault
from rtprelay.security.certificate import Certificate

FILE = "certificates"


class CertificateFault(OurFault):
    label = "certificates"


def load_certificates(directory: Path) -> list[Certificate]:
    """Oldest first; none where there is no file. Raises CertificateFault where it cannot be read."""
    try:
        return msgspec.msgpack.decode((directory / FILE).read_bytes(), type=list[Certificate])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise CertificateFault(f"{directory / FILE}: {error}") from error


def save_certificates(directory: Path, certificates: Iterable[Certificate]) -> None:
    """As a whole or not at all; private keys are nobody else's to read. Raises CertificateFault."""
    path = directory / FILE
    new = path.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.msgpack.encode(list(certificates)))
        new.replace(path)
    except OSError as error:
        raise CertificateFault(f"{path}: {error}") from error
