"""--change-index always: a process reads its store's change log into the index before anybody watches."""

from tests.support.processes import Redis, StartDaemon, wait_for


def steps_back(redis: Redis) -> int:
    """How often the log was read backwards: once for each entry of it, and by a daemon that starts."""
    found = [line for line in redis.cli("INFO", "commandstats").splitlines() if line.startswith("cmdstat_xrevrange:")]
    return int(found[0].split("calls=")[1].split(",")[0]) if found else 0


def test_the_first_resume_finds_the_index_filled(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url, "--change-index", "always")
    with daemon.connect() as peer:
        position = peer.ask("UNWATCH").removeprefix("OK ")
        peer.send("".join(f"SET k{number} v\n" for number in range(2500)))
        assert peer.lines(2500)[-1].startswith("OK ")
    daemon.stop()
    entries = int(redis.cli("XLEN", "{kvd}:log"))
    before = steps_back(redis)
    daemon.start()
    wait_for("the log to be read", lambda: steps_back(redis) - before >= entries)
    before = steps_back(redis)
    with daemon.connect() as peer:
        peer.ask(f"RESUME {position} k7 k2499")
        assert [line.split(" ", 2)[2] for line in peer.lines(2)] == ["SET k7 v", "SET k2499 v"]
    assert steps_back(redis) == before


def test_without_it_nothing_is_read_before_somebody_resumes(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as watcher:
        assert peer.ask("SET a 1") == "OK 1"
        before = steps_back(redis)
        assert watcher.ask("WATCH").startswith("OK 1@")
        assert peer.ask("SET a 2") == "OK 2"
        assert watcher.line().endswith("SET a 2")
    assert steps_back(redis) == before
