"""The pace of all that is in flight to a server: the window, the pauses, who leaves when."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pillm_openai.pace import Limits, Pace


def run(scenario, **limits):
    """Run a scenario on an event loop, with a pace of these limits."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(scenario(Pace(Limits(**{"concurrency": 4, **limits}), 0.0, loop), loop))
    finally:
        loop.close()


def gone(tickets):
    return sum(ticket.may_go.done() and ticket.may_go.result() for ticket in tickets)


def test_a_window_refused_throughout_is_halved_and_one_answered_throughout_grows_by_one():
    async def scenario(pace, loop):
        for _ in range(64):
            pace.refused()
        halved = pace.window
        for _ in range(32):
            pace.answered()
        return halved, pace.window

    halved, grown = run(scenario, concurrency=64)
    assert halved == 32
    assert grown == pytest.approx(33, abs=0.02)


def test_two_refusals_in_a_hundred_cost_no_place_that_matters():
    async def scenario(pace, loop):
        for number in range(5000):
            pace.refused() if number % 50 == 0 else pace.answered()
        return pace.window

    assert run(scenario, concurrency=50) >= 49


@given(some.lists(some.booleans(), max_size=300), some.integers(1, 50))
def test_the_window_stays_between_one_and_the_limit(answers, limit):
    async def scenario(pace, loop):
        for good in answers:
            pace.answered() if good else pace.refused()
            assert 1 <= pace.window <= limit

    run(scenario, concurrency=limit)


@given(some.lists(some.sampled_from(["ask", "end", "refused", "answered"]), max_size=200), some.integers(1, 8))
def test_never_more_are_out_than_the_window_held_when_they_left(steps, limit):
    async def scenario(pace, loop):
        waiting, out = [], []
        for step in steps:
            before = pace.out
            if step == "ask":
                waiting.append(pace.ticket(1, "me"))
            elif step == "end" and out:
                pace.leave(out.pop(), None)
            elif step == "refused":
                pace.refused()
            else:
                pace.answered()
            out += [ticket for ticket in waiting if ticket.may_go.done()]
            waiting = [ticket for ticket in waiting if not ticket.may_go.done()]
            assert pace.out == len(out)
            assert pace.out <= max(before, int(pace.window))

    run(scenario, concurrency=limit)


def test_nobody_leaves_while_the_server_wants_to_be_left_alone():
    async def scenario(pace, loop):
        tickets = [pace.ticket(1, "me")]
        began = loop.time()
        pace.hold(0.2)
        tickets += [pace.ticket(1, "me") for _ in range(2)]
        assert gone(tickets) == 1
        assert pace.room() == 0
        await asyncio.sleep(0.15)
        assert gone(tickets) == 1
        await asyncio.wait([tickets[1].may_go, tickets[2].may_go])
        return loop.time() - began

    assert run(scenario) >= 0.2


def test_a_shorter_pause_does_not_end_a_longer_one():
    async def scenario(pace, loop):
        pace.hold(30)
        pace.hold(0.01)
        return pace.opens_in()

    assert run(scenario) > 29


def test_who_waits_leaves_in_the_order_of_arrival_when_a_place_is_free():
    async def scenario(pace, loop):
        first, second, third = (pace.ticket(1, "me") for _ in range(3))
        assert (gone([first]), gone([second, third])) == (1, 0)
        pace.leave(first, None)
        assert (gone([second]), gone([third])) == (1, 0)

    run(scenario, concurrency=1)


def test_who_gives_up_lets_the_next_one_through():
    async def scenario(pace, loop):
        first, mine, theirs = pace.ticket(1, "x"), pace.ticket(1, "me"), pace.ticket(1, "them")
        pace.give_up("me")
        assert mine.may_go.result() is False
        pace.leave(first, None)
        assert theirs.may_go.result() is True

    run(scenario, concurrency=1)


def test_no_more_is_pulled_than_may_leave_now():
    async def scenario(pace, loop):
        before = pace.room()
        for _ in range(before):
            assert pace.ticket(1, "me").may_go.done()
        return before, pace.room(), pace.opens_in()

    assert run(scenario, concurrency=50)[:2] == (50, 0)
    before, after, seconds = run(scenario, concurrency=50, rpm=120)
    assert (before, after) == (2, 0)
    assert 0 < seconds <= 0.51


def test_tokens_are_reserved_and_corrected_by_what_was_used():
    async def scenario(pace, loop):
        first = pace.ticket(500, "me")
        assert not pace.ticket(10, "me").may_go.done()
        pace.leave(first, 5)
        await asyncio.sleep(0)
        return pace._tokens.wait(10, loop.time())

    assert run(scenario, tpm=6000) == 0


def test_what_the_headers_say_is_left_holds_the_next_request():
    async def scenario(pace, loop):
        ticket = pace.ticket(1, "me")
        said = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6s"}
        pace.told(said, ticket)
        return pace.room(), pace.opens_in()

    room, seconds = run(scenario)
    assert room == 0
    assert seconds == pytest.approx(0.1, abs=0.01)  # sixty places come back in six seconds
