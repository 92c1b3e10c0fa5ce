"""A client whose process is stopped for a while, as by Ctrl-Z or a debugger, or has a signal to handle, waits on."""

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.support.languages import LANGUAGES, Workshop, command_of
from tests.support.processes import PATIENCE, needs, wait_for


def until_asked(connection: socket.socket, verbs: tuple[str, ...]) -> None:
    """Answer the housekeeping of a client until it asks for something else."""
    with connection.makefile("r") as requests:
        while (line := requests.readline()).split(" ")[0] not in verbs:
            assert line, "it has left"
            connection.sendall(b"OK\n")


def stop_and_go_on(process: "subprocess.Popen[str]") -> None:
    """Stop it while it waits; it waits again after."""
    seen = psutil.Process(process.pid)
    wait_for("it to wait", lambda: seen.status() == psutil.STATUS_SLEEPING)
    process.send_signal(signal.SIGSTOP)
    wait_for("it to be stopped", lambda: seen.status() == psutil.STATUS_STOPPED)
    process.send_signal(signal.SIGCONT)
    wait_for("it to wait again", lambda: seen.status() == psutil.STATUS_SLEEPING)


@contextmanager
def asking(adapter: list[str], *ops: dict[str, str]) -> Iterator[tuple[socket.socket, "subprocess.Popen[str]"]]:
    """A client that has connected to the test; its connection and its process."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen(adapter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        # One that has lost its place may try for ever to connect again.
        end = threading.Timer(2 * PATIENCE, process.kill)
        end.start()
        try:
            listener.settimeout(PATIENCE)
            assert process.stdin
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            for op in ({"op": "connect", "address": address, "timeout": f"{PATIENCE}"}, *ops):
                process.stdin.write(json.dumps(op) + "\n")
            process.stdin.flush()
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            with connection:
                yield connection, process
        finally:
            end.cancel()
            process.kill()


def said(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout
    line = process.stdout.readline()
    assert line, "it says nothing"
    answer: dict[str, Any] = json.loads(line)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGES)
def test_a_write_of_a_client_that_was_stopped_is_certain(name: str, workshop: Workshop) -> None:
    needs(LANGUAGES[name].tool)
    adapter = command_of(LANGUAGES[name].adapter, workshop.prepare(name))
    with asking(adapter, {"op": "set", "key": "a", "value": "1"}) as (connection, process):
        until_asked(connection, ("SET", "PUT"))
        for _ in range(3):
            stop_and_go_on(process)
        connection.sendall(b"OK 7\n")
        said(process)
        assert said(process) == {"ok": "7"}


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGES)
def test_a_watch_of_a_client_that_was_stopped_goes_on(name: str, workshop: Workshop) -> None:
    needs(LANGUAGES[name].tool)
    adapter = command_of(LANGUAGES[name].adapter, workshop.prepare(name))
    with asking(adapter, {"op": "follow", "patterns": "p", "position": "4@s"}) as (connection, process):
        until_asked(connection, ("FOLLOW", "RESUME"))
        connection.sendall(b"OK 4@s\n")
        stop_and_go_on(process)
        connection.sendall(b"CHANGE 5@s SET p x\n")
        while (event := said(process)).get("event") != "set":
            pass
        assert event["position"] == "5@s"
