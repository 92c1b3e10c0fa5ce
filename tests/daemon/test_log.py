"""The log: one line an event, in UTC, as text or as JSON, with what an operator looks for."""

import json
import logging
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest

from kvd.process.log_lines import Lines, facts
from kvd.settings import OPTIONS
from tests.support.processes import ROOT, Daemon, StartDaemon, wait_for

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def engine_of(daemon: Daemon) -> psutil.Process:
    return next(one for one in psutil.Process(daemon.pid).children() if "redis" in one.name() or "valkey" in one.name())


def test_text_tells_in_utc_of_the_start_the_stop_and_what_was_lost_between(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--history-age", "77", TZ="America/Lima")
    with daemon.connect() as peer:
        peer.send("INFO\n")
        (store,) = (line.split(" ")[2] for line in iter(peer.line, "OK") if line.startswith("INFO store "))
        assert peer.ask("SET a 1") == "OK 1"
        engine_of(daemon).send_signal(signal.SIGKILL)
        wait_for("the engine", lambda: peer.ask("SET b 1").startswith("OK "))
    # It may serve before it is said to.
    assert daemon.says("was started again")
    daemon.stop()
    lines = daemon.log.splitlines()
    assert all(re.match(rf"{TIME} (INFO|WARNING|ERROR) kvd\S*: ", line) for line in lines), lines
    (started,) = (line for line in lines if " INFO kvd: started " in line)
    assert f" store-id={store} revision=0 listening=127.0.0.1:{daemon.port} " in started
    assert " history-age=77000 " in started
    assert all(f" {option.name.removeprefix('--')}=" in started for option in OPTIONS)
    said = " ".join(line.partition(": ")[2] for line in lines)
    for event in ("ended (by signal SIGKILL); starting it again", "was started again", "stopping:", "stopped uptime="):
        assert event in said


def test_json_is_an_object_a_line_with_the_same(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--log-format", "json", "--watch-patterns", "2", "--workers", "2")
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH a")
        assert peer.ask("WATCH a b c").startswith("ERR limit ")
        value = "v" * 1_000_000
        while "is set aside" not in daemon.log:
            assert peer.ask(f"SET a {value}").startswith("OK ")
    daemon.stop()
    events = [json.loads(line) for line in daemon.log.splitlines()]
    assert all(re.fullmatch(TIME, event["time"]) and event["process"] for event in events)
    (started,) = (event for event in events if event["message"] == "started")
    assert (started["level"], started["logger"], started["watch-patterns"], started["insecure"]) == (
        "info", "kvd", 2, False,
    )  # fmt: skip
    (refused,) = (event for event in events if event["message"].startswith("refused a request of 127.0.0.1:"))
    (slow,) = (event for event in events if "is set aside" in event["message"])
    assert all(re.fullmatch(r"\d+-\d+", event["connection"]) for event in (refused, slow))
    assert "WATCH" not in refused["message"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_in_the_journal_a_line_has_a_level_and_no_time(form: str) -> None:
    reading, writing = os.pipe()
    found = os.fstat(writing)
    code = (
        "import logging, sys; from kvd.process.service import log_to_stderr; "
        "log_to_stderr('info', sys.argv[1], of_many=False); logging.getLogger('kvd').warning('careful')"
    )
    with os.fdopen(reading) as lines:
        subprocess.run(
            [sys.executable, "-c", code, form], cwd=ROOT, stderr=writing, check=True,
            env=os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"},
        )  # fmt: skip
        os.close(writing)
        line = lines.read()
    if form == "text":
        assert line == "<4>WARNING kvd: careful\n"
    else:
        assert line.startswith("<4>{")
        assert json.loads(line[3:]).keys() == {"level", "logger", "process", "message"}


def test_an_event_is_one_line_whatever_is_in_it_and_shows_no_password() -> None:
    record = logging.LogRecord("kvd", logging.INFO, "", 0, "a\nb \x1b[2J redis://u:secret@h", (), None)
    record.__dict__.update(facts(path="x y\n", url="redis://u:secret@h", count=3))
    text = Lines("text").format(record)
    assert re.fullmatch(
        rf'{TIME} INFO kvd: a\\nb \\x1b\[2J redis://\S*@h path="x y\\n" url=redis://\S+@h count=3', text
    )
    event = json.loads(Lines("json").format(record))
    assert (event["path"], event["count"]) == ("x y\n", 3)
    assert "secret" not in text + str(event)
