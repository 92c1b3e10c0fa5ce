"""The crowd that logs in: a small one, which shows that it measures what it says, and that it ends."""

import pytest

from bench import logins


@pytest.mark.slow
def test_those_who_log_in_are_measured_beside_those_who_need_not() -> None:
    (found,) = logins.measure(40, 2, 1, ("--fsync", "no"))
    assert min(found.users.seconds, found.nobody.seconds) > 0
    # Two hashes, whose time is the daemon's.
    assert found.users.daemon > found.nobody.daemon
    came = logins.Came(2.0, 1.0)
    assert "NOT MET: 2.00 times as long" in logins.in_words([logins.Round(came, logins.Came(1.0, 1.0))])
    assert "\nmet: 1.00 times as long" in logins.in_words([logins.Round(came, came)])
