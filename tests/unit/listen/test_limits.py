"""Places, rates and turns: the arithmetic, without a socket."""

from __future__ import annotations

import asyncio
import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprelay.listen.limits import Limits, Places, Rates, Rota
from tests.unit.listen.rig import Run


def test_places_are_limited_in_all_and_for_each_address() -> None:
    places = Places(Limits(connections=3, connections_per_host=2))
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    assert [places.take("b") for _ in range(2)] == [True, False]
    places.leave("a")
    assert len(places) == 2
    assert places.take("b")


def test_a_seconds_worth_of_messages_may_come_at_once_and_then_an_even_pace() -> None:
    rates = Rates(10)
    assert [rates.wait("a", 5.0) for _ in range(10)] == [0.0] * 10
    assert rates.wait("a", 5.0) == pytest.approx(0.1)
    assert rates.wait("a", 5.05) == pytest.approx(0.05)
    assert rates.wait("a", 5.11) == 0.0
    assert rates.wait("a", 5.11) > 0.0
    assert [rates.wait("a", 9.0) for _ in range(10)] == [0.0] * 10


def test_one_addresss_rate_is_not_anothers() -> None:
    rates = Rates(1)
    assert rates.wait("a", 0.0) == 0.0
    assert rates.wait("a", 0.0) > 0.0
    assert rates.wait("b", 0.0) == 0.0


def test_without_a_rate_nobody_waits() -> None:
    rates = Rates(0)
    assert {rates.wait("a", 0.0, 1000) for _ in range(1000)} == {0.0}


def test_what_costs_more_than_a_second_allows_is_let_through_now_and_then() -> None:
    rates = Rates(10)
    assert rates.wait("a", 0.0, 100) == 0.0
    assert rates.wait("a", 9.0, 100) > 0.0
    assert rates.wait("a", 10.5, 100) == 0.0


@given(st.lists(st.floats(0, 0.5), max_size=60), st.integers(1, 20))
def test_whoever_waits_as_told_is_served_and_nobody_gets_more_than_the_rate(gaps: list[float], rate: int) -> None:
    rates = Rates(rate)
    now = 100.0
    for served, gap in enumerate(gaps, 1):
        now += gap
        wait = rates.wait("a", now)
        if wait:
            now += wait + 1e-6
            assert rates.wait("a", now) == 0.0
        assert served <= rate * (now - 100.0) + rate + 1


def test_addresses_that_are_gone_are_forgotten() -> None:
    rates = Rates(10)
    for number in range(1000):
        rates.wait(str(number), number * 0.01)
    assert len(rates._due) < 200
    # One that goes on does not keep those before it alive.
    for tick in range(100):
        rates.wait("steady", 20 + tick * 0.1)
    assert list(rates._due) == ["steady"]


def test_turns_are_given_in_order_and_so_many_at_a_time(run: Run) -> None:
    async def main() -> None:
        rota = Rota(turns=3)
        done: list[int] = []
        seen: list[int] = []

        def look() -> None:
            seen.append(len(done))
            if len(done) < 10:
                asyncio.get_running_loop().call_soon(look)

        for number in range(10):
            rota.enter(functools.partial(done.append, number))
        look()
        while len(done) < 10:
            await asyncio.sleep(0)
        assert done == list(range(10))
        assert all(later - earlier <= 3 for earlier, later in itertools.pairwise(seen))

    run(main())


def test_work_that_enters_again_waits_for_the_others(run: Run) -> None:
    async def main() -> None:
        rota = Rota(turns=1)
        done: list[str] = []

        def greedy() -> None:
            done.append("greedy")
            if len(done) < 6:
                rota.enter(greedy)

        rota.enter(greedy)
        rota.enter(lambda: done.append("other"))
        while len(done) < 6:
            await asyncio.sleep(0)
        assert done[:3] == ["greedy", "other", "greedy"]

    run(main())


def test_work_that_fails_takes_nobodys_turn(run: Run) -> None:
    async def main() -> None:
        failures: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        rota = Rota()

        def fail() -> None:
            raise KeyError("bug")

        rota.enter(fail)
        await rota.turn()
        rota.enter(fail)
        await rota.turn()
        assert [type(failure) for failure in failures] == [KeyError, KeyError]

    run(main())


def test_who_gives_up_waiting_takes_nobodys_turn(run: Run) -> None:
    async def main() -> None:
        rota = Rota()
        waiting = asyncio.ensure_future(rota.turn())
        await asyncio.sleep(0)
        waiting.cancel()
        await rota.turn()
        assert waiting.cancelled()

    run(main())
