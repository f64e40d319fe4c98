from __future__ import annotations

from agent.core.token_bucket import TokenBucket


def passed(bucket: TokenBucket, *times_s: float) -> list[bool]:
    return [bucket.take(now_s) for now_s in times_s]


def test_a_full_bucket_lets_its_capacity_pass_at_once() -> None:
    assert passed(TokenBucket(10, 6.0), *[1000.0] * 12) == [True] * 10 + [False] * 2


def test_one_more_passes_after_each_refill() -> None:
    bucket = TokenBucket(1, 60.0)
    assert passed(bucket, 0.0, 59.0, 60.0, 61.0, 120.0) == [True, False, True, False, True]


def test_no_more_than_the_capacity_is_saved_up() -> None:
    bucket = TokenBucket(2, 1.0)
    assert passed(bucket, 0.0, 0.0, 0.0) == [True, True, False]
    assert passed(bucket, 1e6, 1e6, 1e6) == [True, True, False]


def test_a_clock_that_goes_back_refills_nothing() -> None:
    bucket = TokenBucket(1, 1.0)
    assert passed(bucket, 100.0, 50.0, 50.5) == [True, False, False]
