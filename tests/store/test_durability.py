"""Nothing acknowledged is lost, nothing refused is applied: kill -9 at random moments under load."""

import os
import random
import signal
import sys
import threading
import time

import pytest

from tests.support.processes import Daemon, StartDaemon, wait_for

pytestmark = pytest.mark.slow

ROUNDS = 12
"""A multiple of the ways to kill, so that each gets its share."""
WRITERS = 4
DEPTH = 32


class Writer(threading.Thread):
    """Writes unique values, DEPTH requests ahead of the replies, and notes what it was told of each."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        super().__init__(name=name)
        self._daemon = daemon
        self._stopping = threading.Event()
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.revisions: list[int] = []

    def run(self) -> None:
        try:
            with self._daemon.connect() as peer:
                number = 0
                while not self._stopping.is_set():
                    keys = [f"{self.name}-{number + i}" for i in range(DEPTH)]
                    number += DEPTH
                    peer.send("".join(f"SET {key} value of {key}\n" for key in keys))
                    for key in keys:
                        self._note(key, peer.line())
        except (OSError, EOFError):
            pass

    def _note(self, key: str, reply: str) -> None:
        word, _, rest = reply.partition(" ")
        if word == "OK":
            self.acknowledged.append(key)
            self.revisions.append(int(rest))
        elif reply.startswith("ERR unavailable"):
            self.refused.append(key)
        elif not reply.startswith("ERR uncertain"):
            raise EOFError(reply)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def check(daemon: Daemon, acknowledged: list[str], refused: list[str]) -> None:
    with daemon.connect() as peer:
        # An engine that was killed may take longer to come back than a request waits.
        wait_for("the store", lambda: not peer.ask("GET nothing").startswith("ERR unavailable "))
        for start in range(0, len(acknowledged), 500):
            keys = acknowledged[start : start + 500]
            peer.send("".join(f"GET {key}\n" for key in keys))
            assert peer.lines(len(keys)) == [f"OK value of {key}" for key in keys]
        peer.send("".join(f"GET {key}\n" for key in refused))
        assert peer.lines(len(refused)) == ["NONE"] * len(refused)


def kill(daemon: Daemon, what: str) -> None:
    redis = daemon.redis_pid()
    if what in ("redis", "both"):
        os.kill(redis, signal.SIGKILL)
    if what in ("daemon", "both"):
        daemon.kill()
        daemon.wait()
        daemon.start()


def test_no_acknowledged_write_is_lost_by_kill_9(start_daemon: StartDaemon) -> None:
    seed = int(os.environ.get("KVD_TEST_SEED") or random.SystemRandom().randrange(10**9))
    sys.stdout.write(f"seed {seed}: repeat with KVD_TEST_SEED={seed}\n")
    chance = random.Random(seed)
    ways = ["daemon", "redis", "both"] * (ROUNDS // 3)
    chance.shuffle(ways)
    daemon = start_daemon()
    acknowledged: list[str] = []
    refused: list[str] = []
    revisions: list[int] = []
    for round_, way in enumerate(ways):
        writers = [Writer(daemon, f"round{round_}-writer{number}") for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        wait_for("the first acknowledged writes", lambda w=writers: all(writer.acknowledged for writer in w))
        time.sleep(chance.uniform(0, 0.2))
        kill(daemon, way)
        for writer in writers:
            writer.stop()
            assert writer.acknowledged
            acknowledged += writer.acknowledged
            refused += writer.refused
            revisions += writer.revisions
        check(daemon, acknowledged, refused)
    assert len(set(revisions)) == len(revisions)
    sys.stdout.write(
        f"{ROUNDS} rounds: {len(acknowledged)} acknowledged, {len(refused)} refused, none lost, none applied\n"
    )


def test_sigterm_answers_what_is_under_way_and_tells_watchers(daemon: Daemon) -> None:
    with daemon.connect() as watcher:
        store = watcher.ask("WATCH").split("@")[1]
        writers = [Writer(daemon, f"writer{number}") for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        wait_for("acknowledged writes", lambda: all(writer.acknowledged for writer in writers))
        redis = daemon.redis_pid()
        daemon.kill(signal.SIGTERM)
        assert daemon.wait() == 0
        for writer in writers:
            writer.stop()
        lines = watcher.rest()
    end = lines.pop()
    assert end.startswith(f"END {len(lines)}@{store} shutdown ")
    assert [int(line.split()[1].split("@")[0]) for line in lines] == list(range(1, len(lines) + 1))
    with pytest.raises(ProcessLookupError):
        os.kill(redis, 0)
    daemon.start()
    check(daemon, [key for writer in writers for key in writer.acknowledged], [])


def test_ctrl_c_ends_it_cleanly_with_idle_half_closed_and_unread_connections(daemon: Daemon) -> None:
    with daemon.connect() as idle, daemon.connect() as watcher, daemon.connect() as unread:
        idle.ask("PING")
        watcher.ask("WATCH x*")
        watcher.socket.shutdown(1)
        assert unread.ask(f"SET big {'x' * 500_000}").startswith("OK")
        unread.send("GET big\n" * 100)
        daemon.kill(signal.SIGINT)
        assert daemon.wait() == 0
        assert watcher.rest()[-1].split()[2] == "shutdown"
        assert idle.rest() == []
    assert "Traceback" not in daemon.log
