"""Limits per minute: what the user allows, and what the server says is left."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pillm_openai.buckets import LONGEST_WAIT, Bucket, Left, left_of, seconds_of


def departures(bucket, amounts, gaps):
    """Send as soon as the bucket allows; return when each left."""
    now, left = 0.0, []
    for amount, gap in zip(amounts, gaps, strict=True):
        now += gap
        while (seconds := bucket.wait(amount, now)) > 0:
            now += seconds
        bucket.take(amount, now)
        left.append(now)
    return left


@given(limit=some.integers(1, 5000), gaps=some.lists(some.floats(0, 5), min_size=1, max_size=300))
def test_no_minute_sees_more_requests_than_the_limit(limit, gaps):
    left = departures(Bucket(limit, 0.0), [1] * len(gaps), gaps)
    for at in left:
        assert sum(at <= other < at + 59.999 for other in left) <= limit


@given(
    limit=some.integers(100, 100_000),
    calls=some.lists(some.tuples(some.integers(1, 400), some.floats(0, 2)), min_size=1, max_size=200),
)
def test_no_minute_sees_more_tokens_than_the_limit_and_one_request(limit, calls):
    amounts, gaps = [amount for amount, _ in calls], [gap for _, gap in calls]
    left = departures(Bucket(limit, 0.0), amounts, gaps)
    for at in left:
        sent = [amount for amount, other in zip(amounts, left, strict=True) if at <= other < at + 59.999]
        assert sum(sent) <= limit + max(sent) + 1


def test_the_limit_is_reached_and_not_only_kept():
    left = departures(Bucket(600, 0.0), [1] * 1200, [0.0] * 1200)
    assert 1200 / left[-1] * 60 > 590


def test_without_a_limit_nothing_waits():
    assert departures(Bucket(None, 0.0), [10**9] * 5, [0.0] * 5) == [0.0] * 5


def test_a_request_larger_than_the_limit_leaves_and_the_next_waits_for_it():
    bucket = Bucket(60, 0.0)
    assert bucket.wait(600, 0.0) == 0
    bucket.take(600, 0.0)
    assert bucket.wait(1, 0.0) > 500


def test_what_was_reserved_and_not_used_is_given_back():
    bucket = Bucket(6000, 0.0)
    bucket.take(1000, 0.0)
    before = bucket.wait(50, 0.0)
    bucket.give_back(950)
    assert before > 5
    assert bucket.wait(50, 0.0) == 0


def test_what_the_server_says_is_left_counts_against_what_left_since():
    bucket = Bucket(None, 0.0)
    for _ in range(5):
        bucket.take(1, 0.0)
    bucket.told(Left(4, 1.0), mark=2.0, now=0.0)  # it had seen two of the five
    assert bucket.holds(0.0) == 1
    bucket.take(1, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(1.0)
    assert bucket.wait(1, 0.5) == pytest.approx(0.5)
    bucket.told(Left(100, 1.0), mark=1.0, now=0.5)  # an older answer, come late
    assert bucket.wait(1, 0.5) == pytest.approx(0.5)
    bucket.told(Left(100, 1.0), mark=6.0, now=0.5)
    assert bucket.wait(1, 0.5) == 0


def test_nothing_left_for_hours_is_not_waited_for_the_server_is_asked():
    bucket = Bucket(None, 0.0)
    bucket.told(Left(0, 1e-9), mark=0.0, now=0.0)
    assert bucket.wait(1, 0.0) == LONGEST_WAIT
    bucket.told(Left(0, 0.0), mark=0.0, now=0.0)
    assert bucket.wait(1, 0.0) == LONGEST_WAIT


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("20ms", 0.02), ("7.66s", 7.66), ("6m0s", 360), ("2m59.56s", 179.56), ("1h2m3s", 3723), ("59", 59), ("", None),
        (None, None), ("soon", None), ("2026-11-20T10:00:00Z", None), ("-5s", None), ("1" * 50, None),
    ],
)  # fmt: skip
def test_spans_of_time_are_read_as_servers_write_them(span, seconds):
    assert seconds_of(span) == (seconds if seconds is None else pytest.approx(seconds))


def test_the_headers_say_what_is_left_and_how_fast_it_comes_back():
    headers = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "40", "x-ratelimit-reset-requests": "30s"}
    left = left_of(headers, "requests")
    assert (left.remaining, left.rate) == (40, 2.0)
    assert left_of(headers, "tokens") is None
    del headers["x-ratelimit-reset-requests"]
    assert left_of(headers, "requests").rate == pytest.approx(100 / 60)


@given(some.dictionaries(some.sampled_from([
    f"x-ratelimit-{word}-{what}" for word in ("limit", "remaining", "reset") for what in ("requests", "tokens")
]), some.text(max_size=12) | some.floats().map(str) | some.integers().map(str)))  # fmt: skip
def test_whatever_the_headers_say_the_wait_is_short_and_sane(headers):
    bucket = Bucket(None, 0.0)
    for what in ("requests", "tokens"):
        if left := left_of(headers, what):
            bucket.told(left, 0.0, 0.0)
            seconds = bucket.wait(1, 0.0)
            assert 0 <= seconds <= LONGEST_WAIT
            assert math.isfinite(seconds)
