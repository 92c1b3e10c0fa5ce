"""python -m bench.logins: how long a crowd takes to come back after a restart, with users and without.

Usage:
  bench.logins [--connections N] [--users N] [--rounds N] [--kvd-args ARGS]

Options:
  --connections N  That come at once [default: 2000].
  --users N        Whose they are, in turn [default: 20].
  --rounds N       How often [default: 5].
  --kvd-args ARGS  More options for both daemons.

Two daemons beside each other, one with users and one without.  In each round so many connections come to the one, and
then to the other; each says who it is, where there are users, and asks for a key.  It is over when all have their
answer.  Before that the users are read anew, so that no password is known any longer, as after a restart.  What counts
is the ratio within a round; the crowd is one program on the same cores.  The daemon's processor time is that until
then.
"""

import os
import selectors
import shlex
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from docopt import docopt

from bench import servers
from bench.growth.comeback import daemon_seconds
from bench.growth.crowd_client import allow
from bench.load import LoadFailed
from bench.others.servers import HOST
from bench.servers import System
from kvd.access.passwords import hash_of

MOST = 1.5
"""Times as long as without users."""
PATIENCE = 60.0
"""Seconds for all to be answered."""
QUESTION, ANSWER = b"GET absent\n", b"NONE\n"
BEFORE = "[users.default.rules]\n'*' = ['read']\n"
"""So that who looks whether the daemon is there need not log in."""


class Came(NamedTuple):
    """seconds: until all were answered.  daemon: seconds of its processor time until then."""

    seconds: float
    daemon: float


class Round(NamedTuple):
    """One crowd with users, and one without."""

    users: Came
    nobody: Came

    @property
    def ratio(self) -> float:
        """How many times as long it took with users."""
        return self.users.seconds / self.nobody.seconds


def measure(connections: int, users: int, rounds: int, kvd_arguments: Sequence[str] = ()) -> list[Round]:
    """So many rounds.  Raises LoadFailed."""
    if allow(connections) < connections:
        raise LoadFailed(f"the limit of open files is too low for {connections:,} connections")
    requests = [f"AUTH user{number} password of {number}\n".encode() + QUESTION for number in range(users)]
    with tempfile.TemporaryDirectory(prefix="bench-logins-") as directory, ExitStack() as stack:
        file = Path(directory) / "users.toml"
        file.write_text(BEFORE + "".join(map(_user, range(users))))
        file.chmod(0o600)
        with_users = stack.enter_context(servers.kvd([*kvd_arguments, "--users", str(file)]))
        without = stack.enter_context(servers.kvd(kvd_arguments))
        found = []
        for number in range(rounds):
            turns = [(with_users, requests), (without, [QUESTION])]
            came = {}
            for system, lines in turns[:: -1 if number % 2 else 1]:
                _forget(with_users)
                servers.settle(system)
                came[system.server.port] = _come(system, connections, lines)
            found.append(Round(came[with_users.server.port], came[without.server.port]))
        return found


def in_words(rounds: Sequence[Round]) -> str:
    """What was found, in a few lines."""
    lines = [
        f"{title}: {median(one.seconds for one in came):.2f} s, "
        f"{median(one.daemon for one in came):.2f} s of the daemon's processor time"
        for title, came in (
            ("with users", [one.users for one in rounds]), ("without", [one.nobody for one in rounds])
        )
    ]  # fmt: skip
    ratios = sorted(one.ratio for one in rounds)
    met = "met" if ratio_of(rounds) <= MOST else "NOT MET"
    lines.append(f"{met}: {ratio_of(rounds):.2f} times as long ({ratios[0]:.2f} to {ratios[-1]:.2f}); at most {MOST}")
    return "\n".join(lines)


def ratio_of(rounds: Sequence[Round]) -> float:
    """The median of the ratios within the rounds."""
    return median(one.ratio for one in rounds)


def _user(number: int) -> str:
    hashed = hash_of(b"password of %d" % number)
    return f"[users.user{number}]\npasswords = ['{hashed}']\nrules = {{ '*' = ['read'] }}\n"


def _forget(system: System) -> None:
    """Have the daemon read its users anew."""
    log = system.server.directory / "log"
    before = log.read_text().count("reloaded")
    os.kill(system.server.pid, signal.SIGHUP)
    end = time.monotonic() + PATIENCE
    while log.read_text().count("reloaded") == before:
        if time.monotonic() > end:
            raise LoadFailed("the daemon does not read its users anew")
        time.sleep(0.01)


def _come(system: System, connections: int, lines: Sequence[bytes]) -> Came:
    """So many connections, each with one of the requests in turn, until all are answered.  Raises LoadFailed."""
    before, began = daemon_seconds(system), time.perf_counter()
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for number in range(connections):
            connection = stack.enter_context(socket.create_connection((HOST, system.server.port)))
            connection.sendall(lines[number % len(lines)])
            selector.register(connection, selectors.EVENT_READ, bytearray())
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                raise LoadFailed(f"{len(selector.get_map()):,} connections have no answer")
            for key, _ in ready:
                _read(selector, key)
        return Came(time.perf_counter() - began, daemon_seconds(system) - before)


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    assert isinstance(key.fileobj, socket.socket)  # noqa: S101
    data = key.fileobj.recv(1 << 16)
    key.data.extend(data)
    if not data or b"ERR" in key.data:
        raise LoadFailed(f"a connection was refused: {bytes(key.data)!r}")
    if key.data.endswith(ANSWER):
        selector.unregister(key.fileobj)


def main() -> int:
    """Returns the exit status."""
    arguments = docopt(__doc__)
    try:
        rounds = measure(
            int(arguments["--connections"]), int(arguments["--users"]), int(arguments["--rounds"]),
            shlex.split(arguments["--kvd-args"] or ""),
        )  # fmt: skip
    except LoadFailed as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(in_words(rounds))  # noqa: T201
    return 0 if ratio_of(rounds) <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
