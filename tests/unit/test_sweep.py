"""When a process at rest looks for expired keys again."""

from kvd.store.redis.expiry import SWEEP_INTERVAL, until_next


def test_it_looks_soon_while_any_are_left_to_it_or_to_another_daemon() -> None:
    assert until_next(more=1, now=5000, deadlines=[]) == SWEEP_INTERVAL


def test_else_when_the_next_one_is_due_if_any_will_be() -> None:
    assert until_next(more=0, now=5000, deadlines=[b"9000"]) == 4
    assert until_next(more=0, now=5000, deadlines=[b"4000"]) == SWEEP_INTERVAL
    assert until_next(more=0, now=5000, deadlines=[]) is None
