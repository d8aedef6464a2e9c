"""What conf/ shows for other programs: the relay knows their words for it, and has the metrics they ask for.

conf/opensips, conf/kamailio --> the strings of rtpengine_offer(...) and the like --> the parser of flags
conf/prometheus, conf/grafana -> names of metrics --> a relay's own /metrics, and promtool where it is installed
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rtprelay.observe.families import CATALOGUE
from rtprelay.signalling.options import parse_flag, tokens

CONF = Path(__file__).resolve().parents[2] / "conf"
FLAGS = re.compile(r'(?:rtpengine_(?:offer|answer|delete|manage)\(|\$var\(flags\) = (?:\$var\(flags\) \+ )?)"([^"]*)"')
METRIC = re.compile(r"\brtpengine_(\w+)")
PROMTOOL = shutil.which("promtool")


@pytest.mark.parametrize("file", ["opensips/opensips.cfg", "kamailio/kamailio.cfg"])
def test_every_word_given_to_the_relay_is_one_it_knows(file: str) -> None:
    said = [word for text in FLAGS.findall((CONF / file).read_text()) for word in tokens(text)]
    assert len(set(said)) > 5
    assert [word for word in said if not word.startswith("$") and parse_flag(word) is None] == []


@pytest.mark.parametrize("file", ["prometheus/rtprelay.rules.yml", "grafana/rtprelay.json"])
def test_every_metric_asked_for_is_one_there_is(file: str) -> None:
    asked = set(METRIC.findall((CONF / file).read_text()))
    assert len(asked) > 5
    assert asked <= {family.name for family in CATALOGUE}


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((CONF / "grafana" / "rtprelay.json").read_text())
    numbers = [panel["id"] for panel in dashboard["panels"]]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(set(numbers)) == len(places) == len(dashboard["panels"])
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt: prometheus)")
def test_prometheus_takes_its_files() -> None:
    assert PROMTOOL is not None
    for kind, file in (("config", "prometheus.yml"), ("rules", "rtprelay.rules.yml")):
        checked = subprocess.run([PROMTOOL, "check", kind, CONF / "prometheus" / file], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
