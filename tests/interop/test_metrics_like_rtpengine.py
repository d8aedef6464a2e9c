"""Dashboards made for rtpengine find every metric of 10.5 here, under the same name and with the same labels.

a call, set up and ended --ng/UDP--> rtpengine --GET /metrics--> names and labels --> our catalogue
"""

from __future__ import annotations

import re
import socket
import urllib.request
from pathlib import Path

import pytest

from rtprelay.observe.families import CATALOGUE
from tests.interop.daemons import RTPENGINE, installed, running
from tests.interop.script import answer, delete, offer
from tests.loopback import HOST

SAMPLE = re.compile(r"^rtpengine_(\w+)(?:\{([^}]*)\})? ", re.MULTILINE)

pytestmark = pytest.mark.skipif(not installed(), reason=f"{RTPENGINE} is not installed (apt: rtpengine-daemon)")


def test_every_metric_of_rtpengine_is_one_of_ours(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as probe:
        address = f"{HOST}:{probe.getsockname()[1]}"
    with running([RTPENGINE, f"--listen-http={address}"], tmp_path / "log") as daemon:
        for step in (offer(), answer(), delete()):
            daemon.ask(step.request)
        text = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read().decode()
    theirs = {(name, frozenset(re.findall(r'(\w+)="', labels))) for name, labels in SAMPLE.findall(text)}
    assert len(theirs) > 20
    assert theirs <= {(family.name, frozenset(family.labels)) for family in CATALOGUE}
