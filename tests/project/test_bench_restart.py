"""The gap over a restart: a small one, in which no client misses a change."""

from bench import restart


def test_no_client_that_follows_misses_a_change_over_a_restart() -> None:
    (seen,) = restart.measure("embedded, socket activation", keys=100, clients=5, restarts=1)
    assert seen.missed == 0
    assert len(seen.gaps) == 5
    assert max(seen.gaps) < float("inf")
