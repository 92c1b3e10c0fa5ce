"""The pauses between attempts."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert [backoff.next() for _ in range(2)] == [0.5, 1.0]


def test_it_is_fresh_until_an_attempt_fails_and_after_a_success() -> None:
    backoff = Backoff()
    assert backoff.is_fresh
    backoff.next()
    assert not backoff.is_fresh
    backoff.reset()
    assert backoff.is_fresh


@given(st.floats(0.001, 1.0), st.floats(1.0, 100.0), st.integers(1, 50))
def test_jitter_leaves_at_least_half_of_a_pause(first: float, longest: float, attempts: int) -> None:
    plain, jittered = Backoff(first, longest), Backoff(first, longest, jitter=True)
    for _ in range(attempts):
        pause = plain.next()
        assert pause / 2 <= jittered.next() <= pause <= longest


def test_those_who_begin_together_do_not_try_together() -> None:
    pauses = {Backoff(1.0, 1.0, jitter=True).next() for _ in range(100)}
    assert max(pauses) - min(pauses) > 0.25
