"""The benchmark: that its generator counts what happens, and that ratios, targets and the guard are computed right."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from rich.table import Table

from bench import guard, report, servers
from bench.curves import Check, Curve
from bench.load import Generator, LoadFailed, Result
from bench.measure import Measured, alternate, ratio
from bench.others.servers import HOST, Server, find
from bench.targets import ETCD, KVD, REDIS, ROWS, Row, Target
from tests.support.processes import ROOT, needs, wait_for

SHORT = {"seconds": 0.1, "warmup": 0.02}
ROW = Row(
    "get", "GET", "requests", (KVD, REDIS, ETCD), (Target("at least", 0.65, 0.8), Target("at least", 8, 10, ETCD))
)
LATENCY = Row("one", "one", "requests", (KVD, REDIS), (Target("at most", 1.5, 1.35),), {}, "p50_us")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    needs("cc")
    return Generator(tmp_path_factory.mktemp("load"))


def seen(operations: int = 1000, p50_us: float = 10, **more: float) -> Result:
    """A round of one second."""
    costs = {"daemon_cpu": 0.0, "store_cpu": 0.0, "generator_cpu": 0.0, **more}
    return Result(operations, 0, 1, p50_us, 2 * p50_us, **costs)


def measured(row: Row, **rates: list[int]) -> Measured:
    return Measured(row, {name: [seen(rate, p50_us=rate) for rate in rounds] for name, rounds in rates.items()})


@pytest.mark.slow
def test_the_generator_counts_what_kvd_and_redis_answer(generator: Generator) -> None:
    with servers.kvd() as kvd, servers.bare_redis() as redis:
        for system in (kvd, redis):
            generator.fill(system, 100, 32)
            settings = {"connections": 5, "depth": 4, "reads": 50, "keys": 100, "value": 32}
            result = generator.run(system, "requests", settings, **SHORT)
            assert result.operations > 0
            assert result.errors == 0
            assert 0 < result.p50_us <= result.p99_us
            for more in ({}, {"durable": 1}, {"distinct": 1}):
                result = generator.run(system, "fan-out", {"watchers": 10, "flight": 4, **more}, **SHORT)
                assert result.operations > 0
        assert len(kvd.daemons) == len(kvd.stores) == len(redis.stores) == 1

        def is_in_time() -> bool:
            """Whether the load is what was asked for; now and then it is held up, and makes up for that."""
            settings = {"connections": 2, "rate": 500, "keys": 100}
            with suppress(LoadFailed):
                return 100 <= generator.run(kvd, "requests", settings, seconds=0.4, warmup=0).operations <= 250
            return False

        wait_for("a load at its rate", is_in_time)
        assert (kvd.server.directory / "data").is_dir()


@pytest.fixture
def liar() -> Iterator[servers.System]:
    """A server that answers every read of the socket with a line that is no value of the right length."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            # The generator ends with a reset.
            with connection, suppress(ConnectionResetError):
                while connection.recv(4096):
                    connection.sendall(b"OK wrong\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield servers.System(KVD, "kvd", Server("liar", os.getpid(), listener.getsockname()[1], Path()), ())
        thread.join()


def test_a_wrong_reply_is_an_error(generator: Generator, liar: servers.System) -> None:
    with pytest.raises(LoadFailed, match=r"[1-9][0-9]* wrong replies in [1-9]"):
        generator.run(liar, "requests", {"connections": 1}, **SHORT)


def test_a_load_in_whose_time_nothing_was_done_is_given_for_longer() -> None:
    given: list[float] = []

    class Idle(Generator):
        """Of a disk whose every sync takes a second."""

        def __init__(self) -> None:
            """It compiles nothing."""

        def _run(self, *words: Any) -> Result:
            given.append(words[3])
            return seen(int(words[3]))

    idle, system = Idle(), servers.System(KVD, "kvd", Server("none", 0, 0, Path()), ())
    assert idle.run(system, "requests", {}, seconds=0.1, warmup=0).operations == 1
    assert given == [0.1, 0.4, pytest.approx(1.6)]
    with pytest.raises(LoadFailed, match="did nothing"):
        idle.run(system, "requests", {}, seconds=0.01, warmup=0)


def test_rounds_alternate() -> None:
    assert "".join(alternate("ABC", 3)) == "ABCCBAABC"


def test_a_ratio_is_within_a_round() -> None:
    # A machine that is half as fast in the second round changes nothing.
    both = ratio([60, 30, 66], [100, 50, 100])
    assert (both.median, both.low, both.high) == (0.6, 0.6, 0.66)


def test_the_table_shows_ratios_costs_and_targets() -> None:
    results = {
        KVD: [seen(700, daemon_cpu=0.0035, store_cpu=0.0007)] * 3,
        REDIS: [seen(1000, store_cpu=0.002)] * 3,
        ETCD: [seen(50)] * 3,
    }
    kvd, redis, etcd, to_etcd = report.lines([Measured(ROW, results)])
    assert kvd[:6] == ("GET", "kvd", "700/s", "0.70 (0.70 to 0.70)", "5.00", "1.00")
    assert kvd[7:] == ("at least 0.65 (0.8)", "yes")
    assert redis[:6] == ("", "bare Redis", "1,000/s", report.NONE, report.NONE, "2.00")
    assert etcd.target == ""
    assert to_etcd[1:4] == ("kvd / etcd", "", "14.00 (14.00 to 14.00)")
    assert to_etcd.met == "stretch"


@pytest.mark.parametrize(("now", "met"), [(13, "stretch"), (15, "yes"), (16, "no")])
def test_a_latency_is_to_be_low(now: int, met: str) -> None:
    assert next(report.lines([measured(LATENCY, kvd=[now], redis=[10])])).met == met


def printed(table: Table) -> str:
    """Its words, wherever lines were broken."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return " ".join(console.export_text().split())


def test_a_curve_says_what_it_may_not_exceed() -> None:
    checks = [Check("twice", 1.5, limit=1.2), Check("speed", 0.7, "at least", 0.6), Check("so it is", 3)]
    curve = Curve("c", "A curve", "How.", "keys", ["1", "1,000"], {"GET, µs": [1, 123456]}, checks)
    lines = [report.check_line(check) for check in checks]
    assert lines == ["twice: 1.50, at most 1.2: no", "speed: 0.70, at least 0.6: yes", "so it is: 3.00"]
    assert report.check_line(checks[0], judged=False) == "twice: 1.50"
    judged, alone = (printed(report.curve_tables([curve], judged=judged)[0]) for judged in (True, False))
    assert "1,000 123,456" in judged
    assert "twice: 1.50, at most 1.2: no" in judged
    assert "at most" not in alone


@pytest.mark.parametrize("judged", [True, False])
def test_targets_are_for_who_asks(judged: bool) -> None:
    text = printed(report.table([measured(LATENCY, kvd=[16], redis=[10])], judged=judged))
    assert "1.60 (1.60 to 1.60)" in text
    assert ("at most 1.5 (1.35)" in text) == judged
    assert ("stretch" in text) == judged


@pytest.mark.parametrize(("now", "then", "fails"), [(0.36, 0.7, False), (0.34, 0.7, True), (2.0, 0.7, False)])
def test_the_guard_fails_below_half_the_recorded_ratio(now: float, then: float, fails: bool, tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    before = measured(ROW, kvd=[int(then * 1000)], redis=[1000])
    path.write_text(json.dumps(report.raw([before], [])))
    found = guard.complaints([measured(ROW, kvd=[int(now * 1000)], redis=[1000])], guard.recorded_ratios(path))
    assert list(found) == (["get"] if fails else [])


def test_the_guard_fails_above_twice_the_recorded_latency() -> None:
    assert guard.complaints([measured(LATENCY, kvd=[29], redis=[10])], {"one": 1.4}) == {
        "one": "one: 2.90 times bare Redis, recorded 1.40: 2.1 times worse"
    }
    assert guard.complaints([measured(LATENCY, kvd=[27], redis=[10])], {"one": 1.4}) == {}


def test_the_guard_has_nothing_to_say_of_what_was_not_recorded(tmp_path: Path) -> None:
    assert guard.recorded_ratios(tmp_path / "none.json") == {}
    assert guard.complaints([measured(ROW, kvd=[1], redis=[1000])], {}) == {}


def run_bench(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "bench", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("recorded", "status"), [(0.001, 0), (1000.0, 1)])
def test_the_guard_s_word_is_the_exit_status(recorded: float, status: int, tmp_path: Path) -> None:
    needs("cc")
    rows = {row.name: {"ratio_to_redis": {KVD: {"median": recorded}}} for row in ROWS}
    record = tmp_path / "benchmarks.json"
    record.write_text(json.dumps({"rows": rows}))
    options = ["--quick", "--guard", "--record", str(record), "--rounds", "1", "--seconds", "0.05", "--only", "get"]
    bench = run_bench(*options)
    output, _ = bench.communicate()
    assert bench.returncode == status, output
    assert ("times worse than recorded" in output) == (status == 0)
    assert ("guard: GET, 50 connections:" in output) == (status == 1)


def test_the_environment_s_own_redis_is_not_debian_s(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("redis-server")
    own = Path(sys.prefix, "bin")
    monkeypatch.setenv("PATH", f"{own}:{os.path.relpath(own)}:{os.environ['PATH']}")
    assert Path(find("redis-server", "redis-server")).parent.resolve() != own.resolve()


def test_sigterm_ends_every_server() -> None:
    needs("cc")
    bench = run_bench("--quick", "--seconds", "30", "--only", "get")
    process = psutil.Process(bench.pid)
    try:
        wait_for(
            "kvd, two servers of Redis and a load, or the bench's end",
            lambda: bench.poll() is not None or len(process.children(recursive=True)) == 4,
        )
        children = process.children(recursive=True) if bench.poll() is None else []
    finally:
        bench.terminate()
        output, _ = bench.communicate()
    assert bench.returncode == 128 + signal.SIGTERM, output
    assert children
    wait_for("the end of all", lambda: not any(child.is_running() for child in children))
