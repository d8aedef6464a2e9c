"""Bearer tokens: read from a file, compared whole, told to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtprelay.errors import OurFault
from rtprelay.listen.tokens import Tokens

GOOD, OTHER = "a-token-of-sixteen-or-more", "another-token-that-is-good"


@pytest.mark.parametrize("credentials", [f"Bearer {GOOD}", f"bearer  {GOOD} ", f"BEARER {OTHER}"])
def test_a_token_on_the_list_is_admitted(credentials: str) -> None:
    assert Tokens((GOOD, OTHER)).admit(credentials)


@pytest.mark.parametrize(
    "credentials",
    ["", "Bearer", "Bearer ", GOOD, f"Basic {GOOD}", f"Bearer {GOOD[:-1]}", f"Bearer {GOOD}x", "Bearer \udcff"],
)
def test_anything_else_is_not(credentials: str) -> None:
    assert not Tokens((GOOD, OTHER)).admit(credentials)


def test_without_tokens_everyone_is_admitted() -> None:
    assert not Tokens()
    assert Tokens().admit("")


def test_every_token_is_compared_in_constant_time_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("rtprelay.listen.tokens.hmac.compare_digest", compare)
    assert Tokens((GOOD, OTHER)).admit(f"Bearer {GOOD}")
    assert len(compared) == 2
    # Of one length whatever the token's: nor does that show.
    assert {len(side) for pair in compared for side in pair} == {32}


def test_a_file_has_one_token_a_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# for the dashboard\n{GOOD}\n\n  {OTHER}  \n")
    found = Tokens.read(path)
    assert found.admit(f"Bearer {GOOD}")
    assert found.admit(f"Bearer {OTHER}")
    assert not found.admit("Bearer # for the dashboard")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "there is no token in it"),
        ("short\n", "a token is 16 or more characters"),
        ("two words that are long enough\n", "without spaces"),
        ("gehört-nicht-in-den-header\n", "tokens are ASCII"),
    ],
)
def test_a_file_that_would_let_in_strangers_is_refused_without_telling_its_content(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(OurFault, match=message) as caught:
        Tokens.read(path)
    assert text.strip() not in caught.value.reason
    assert caught.value.__cause__ is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OurFault, match="No such file"):
        Tokens.read(tmp_path / "missing")


def test_tokens_are_shown_nowhere() -> None:
    assert GOOD not in repr(Tokens((GOOD,)))
    assert GOOD.encode() not in repr(vars(Tokens((GOOD,)))).encode()
