"""The gap over a restart: a small one, in which no client misses a change."""

import pytest

from bench import restart


@pytest.mark.slow
@pytest.mark.parametrize("way", ["embedded", "embedded, socket activation"])
def test_no_client_that_follows_misses_a_change_over_a_restart(way: str) -> None:
    (seen,) = restart.measure(way, keys=100, clients=5, restarts=1)
    assert seen.missed == 0
    assert len(seen.gaps) == 5
    assert max(seen.gaps) < float("inf")
