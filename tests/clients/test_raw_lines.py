"""Whole lines on a connection that one thread sends on, and another one closes."""

from kvd.client.limits import checked
from kvd.client.raw import RawLines
from tests.support.processes import Daemon


def test_to_send_on_what_another_thread_has_closed_is_no_error(shared_daemon: Daemon) -> None:
    """Reported: `yes PING | kvctl send | head -1` ended in a traceback."""
    with RawLines.open(shared_daemon.addr, checked()) as lines:
        lines.send_all(b"PING\n")
        assert lines.receive() == [b"OK"]
        lines.close()
        lines.send_all(b"PING\n")
