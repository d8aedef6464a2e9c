"""curl as a foreign HTTP client of the whole relay.

curl ---- HTTP, HTTPS ----> rtprelay (a process of its own)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.transports.daemon import TOKEN, Daemon
from tools.netns import run

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (see `make test`)")

NG = "Content-Type: application/x-rtpengine-ng"
OFFER = {
    "command": "offer",
    "call-id": "curl",
    "from-tag": "a",
    "sdp": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=t\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
}

Curl = Callable[..., str]


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("relay"), addresses=("127.0.0.1", "[::1]"))
    yield daemon
    daemon.program.end()


@pytest.fixture(params=["http", "https", "http over IPv6"])
def curl(relay: Daemon, request: pytest.FixtureRequest) -> Curl:
    """Call it with a path and options; it gives what the relay sent, and fails where curl does."""
    kind, _, over = request.param.partition(" ")
    endpoint = relay.at(kind, 6 if over else 4)

    def call(path: str, *options: str) -> str:
        trust = ("--cacert", str(relay.authority.certificate))
        return run("curl", "-sS", "--noproxy", "*", "--max-time", "10", *trust, *options, f"{kind}://{endpoint}{path}")

    return call


def test_ping_is_answered(curl: Curl) -> None:
    assert curl("/ping") == "pong\n"
    assert curl("/ping", "--http1.0") == "pong\n"
    assert "\nContent-Length: 5" in curl("/ping", "--head").replace("\r", "")


def test_the_console_is_asked_by_path_and_by_body(curl: Curl) -> None:
    by_path = curl("/cli/list+numsessions")
    assert by_path.startswith("Current sessions own: ")
    assert curl("/cli", "-H", "Content-Type: text/plain", "--data", "list numsessions") == by_path


def test_ng_is_spoken_with_and_without_a_cookie(curl: Curl) -> None:
    assert curl("/ng", "-H", NG, "--data-binary", "5_1 d7:command4:pinge") == "5_1 d6:result4:ponge"
    assert curl("/ng", "-H", NG, "--data-binary", '5_2 {"command":"ping"}') == '5_2 {"result":"pong"}'
    assert (
        curl("/ng-plain", "-H", "Content-Type: application/json", "--data", '{"command":"ping"}') == '{"result":"pong"}'
    )


def test_a_call_is_offered_asked_about_and_deleted(curl: Curl) -> None:
    def ask(message: dict[str, str]) -> dict[str, object]:
        answer = curl("/ng-plain", "-H", "Content-Type: application/json", "--data-binary", json.dumps(message))
        body: dict[str, object] = json.loads(answer)
        return body

    answer = ask(OFFER)
    assert answer["result"] == "ok"
    assert "c=IN IP4 127.0.0.1\r\n" in str(answer["sdp"])
    assert ask({"command": "query", "call-id": "curl"})["result"] == "ok"
    assert ask({"command": "delete", "call-id": "curl", "from-tag": "a", "delete-delay": "0"})["result"] == "ok"
    assert ask({"command": "query", "call-id": "curl"}) == {"result": "error", "error-reason": "Unknown call-id"}


def test_a_large_body_waits_to_be_told_to_go_on(curl: Curl, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_text('5_3 {"command":"ping","x":"' + "x" * 900_000 + '"}')
    sent = ("-H", NG, "-H", "Expect: 100-continue", "--expect100-timeout", "9", "--data-binary", f"@{body}")
    assert curl("/ng", *sent) == '5_3 {"result":"pong"}'


def test_a_body_too_large_is_refused(curl: Curl, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 2_000_000)
    status = curl("/ng", "-H", NG, "--data-binary", f"@{body}", "-o", "/dev/null", "-w", "%{http_code}")
    assert status == "413"


def test_metrics_name_what_has_happened(curl: Curl) -> None:
    curl("/ng", "-H", NG, "--data-binary", "5_4 d7:command4:pinge")
    text = curl("/metrics")
    assert 'rtpengine_requests_total{proxy="127.0.0.1",request="ping"}' in text or 'proxy="::1"' in text
    assert 'rtpengine_sessions{type="own"} 0.0' in text
    assert "rtpengine_control_connections 1.0" in text
    assert 'rtpengine_ports{address="127.0.0.1",name="default"} 10000.0' in text


def test_a_browsers_preflight_is_answered(curl: Curl) -> None:
    answer = curl(
        "/ng", "-i", "-X", "OPTIONS", "-H", "Origin: https://a.example", "-H", "Access-Control-Request-Method: POST"
    )
    assert "204" in answer.splitlines()[0]
    assert "Access-Control-Allow-Origin: *" in answer


def test_a_token_or_a_certificate_opens_what_is_guarded(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN + "\n")
    (tmp_path / "relay").mkdir()
    relay = Daemon(tmp_path / "relay", f"--control-token-file={tokens}", "--metrics-prefix=rtprelay_", "-L7")
    try:
        url = f"http://{relay.at('http')}/metrics"
        common = ("curl", "-sS", "--noproxy", "*", "--max-time", "10")
        assert run(*common, url) == "A valid bearer token is required\n"
        assert "rtprelay_sessions" in run(*common, "--oauth2-bearer", TOKEN, url)
        assert TOKEN not in relay.program.text
    finally:
        relay.program.end()


def test_only_clients_of_the_authority_are_let_in_where_one_is_named(tmp_path: Path) -> None:
    # Its own authority signs the clients too.
    relay = Daemon(tmp_path, f"--https-client-ca={tmp_path / 'authority.pem'}")
    try:
        certificate, key = relay.authority.issue("operator")
        url = f"https://{relay.at('https')}/ping"
        common = ("curl", "-sS", "--noproxy", "*", "--max-time", "10", "--cacert", str(relay.authority.certificate))
        assert run(*common, "--cert", str(certificate), "--key", str(key), url) == "pong\n"
        with pytest.raises(RuntimeError, match=r"exit (35|52|56)"):
            run(*common, url)
    finally:
        relay.program.end()
