"""What starts Debian's rtpengine (10.5) starts ours: its command line, and the file its package installs.

rtpengine --help ----------> every option and letter --> read_command_line
/etc/rtpengine/rtpengine.conf --> as it is, and with all it has as comments --> load
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rtprelay.config.command_line import read_command_line
from rtprelay.config.load import load
from rtprelay.config.options import WORDS
from rtprelay.config.rtpengine import IGNORED
from tests.interop.daemons import RTPENGINE, installed
from tests.unit.listen.authority import Authority

FILE = Path("/etc/rtpengine/rtpengine.conf")
OPTION = re.compile(r"^ +(?:-(\w), )?--([a-z0-9-]+)(=\S+)?  ", re.MULTILINE)
PRINT_AND_END = {"help", "version", "codecs"}
UNNAMED_VALUE = {"log-mark-prefix", "log-mark-suffix", "redis-delete-async-interval", "dtmf-digit-delay"}
"""They take one, which their help does not show."""

pytestmark = pytest.mark.skipif(not installed(), reason=f"{RTPENGINE} is not installed (apt: rtpengine-daemon)")


def options() -> list[tuple[str, str, bool]]:
    """Letter, name, and whether there is a value."""
    text = subprocess.run([RTPENGINE, "--help"], capture_output=True, text=True, check=True).stdout
    return [(letter, name, bool(value) or name in UNNAMED_VALUE) for letter, name, value in OPTION.findall(text)]


def test_every_option_of_the_command_line_is_understood() -> None:
    found = options()
    assert len(found) > 120
    for letter, name, valued in found:
        if name in PRINT_AND_END:
            with pytest.raises(SystemExit) as end:
                read_command_line([f"--{name}"])
            assert end.value.code == 0
            continue
        for spelled in (f"--{name}", *([f"-{letter}"] if letter else [])):
            given, ignored = read_command_line([spelled, *(["5"] if valued else [])])
            assert (name in given) == (name in WORDS), spelled
            assert (name in ignored) == (name in IGNORED), spelled


def test_the_file_of_the_package_is_taken_as_it_is() -> None:
    config = load([f"--config-file={FILE}"])
    assert [str(e) for kind in ("ng", "http", "cli") for e in config.control.listen[kind] if ":" not in e.address] == [
        "127.0.0.1:2223",
        "127.0.0.1:2225",
        "127.0.0.1:2224",
    ]
    assert (config.settings.timeout, config.settings.tos) == (60.0, 184)
    assert len(config.notices) == 2, "of recording-dir and recording-method"
    other = load([f"--config-file={FILE}", "--config-section=rtpengine-testing", "--interface=127.0.0.1"])
    assert (other.log_level, other.log_stderr, other.foreground, other.backend.value) == (7, True, True, "userspace")


def test_so_is_everything_it_has_as_a_comment(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("relay")
    text = re.sub(r"^# ?([a-z0-9-]+ =)", r"\1", FILE.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^https-cert =.*", f"https-cert = {certificate}", text, flags=re.MULTILINE)
    text = re.sub(r"^https-key =.*", f"https-key = {key}", text, flags=re.MULTILINE)
    file = tmp_path / "rtpengine.conf"
    file.write_text(text)
    config = load([f"--config-file={file}"])
    settings = config.settings
    assert (settings.max_sessions, settings.control_tos, settings.final_timeout) == (5000, 184, 10800)
    ignored = {notice.split()[2] for notice in config.notices if notice.startswith("rtpengine option")}
    assert {"redis", "b2b-url", "num-threads"} <= ignored
    assert ignored - IGNORED == {"num-media-threads", "myser-pass"}, "which rtpengine does not know either"


def test_a_mistake_in_it_is_named_by_file_line_and_key(tmp_path: Path) -> None:
    text = FILE.read_text().replace("\ntimeout = 60\n", "\ntimeout = soon\n")
    line = text.splitlines().index("timeout = soon") + 1
    file = tmp_path / "rtpengine.conf"
    file.write_text(text)
    with pytest.raises(Exception, match=re.escape(f"{file}:{line}: timeout: Expected float")):
        load([f"--config-file={file}"])
