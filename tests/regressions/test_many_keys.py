"""Reported: `kvctl del` of 10,000 keys takes 19 s, for it waits for each reply: one sync of the store's a key."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from kvd.client.pipelines import IN_FLIGHT
from tests.support.kvctl import PATIENCE, complaint, printed, run, run_into
from tests.support.processes import Daemon

pytestmark = pytest.mark.slow

KEYS = [f"k{number}" for number in range(3 * IN_FLIGHT)]


def set_all(daemon: Daemon, keys: list[str]) -> None:
    with daemon.connect() as peer:
        peer.send("".join(f"SET {key} v\n" for key in keys))
        for _ in keys:
            assert peer.line().startswith("OK ")


class Counting:
    """A daemon that answers a request only when as many more have come as may be in flight."""

    def __init__(self) -> None:
        self.most = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._serving = threading.Thread(target=self._serve)
        self._serving.start()

    def _serve(self) -> None:
        peer, _ = self._server.accept()
        with peer:
            come = -1  # the first is a PING
            while come < 0:
                come += peer.recv(1 << 16).count(b"\n")
            peer.sendall(b"OK\n")
            for answered in range(len(KEYS)):
                while come < min(answered + IN_FLIGHT, len(KEYS)):
                    come += peer.recv(1 << 16).count(b"\n")
                self.most = max(self.most, come - answered)
                peer.sendall(b"OK %d\n" % (answered + 1))

    def close(self) -> None:
        self._serving.join(PATIENCE)
        self._server.close()


def test_many_keys_are_asked_for_at_once_but_not_all_of_them() -> None:
    daemon = Counting()
    result = run("--addr", daemon.address, "del", *KEYS)
    daemon.close()
    assert printed(result).split() == [b"%d" % (number + 1) for number in range(len(KEYS))]
    assert daemon.most == IN_FLIGHT


def test_what_comes_of_the_keys_is_printed_in_their_order(daemon: Daemon) -> None:
    set_all(daemon, KEYS[1::2])
    result = run("--addr", daemon.addr, "--json", "del", *KEYS)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    first = len(KEYS[1::2]) + 1
    assert lines == [{"key": key, "revision": first + place} for place, key in enumerate(KEYS[1::2])]
    assert complaint(result, 1) == f"kvctl: no such key: {', '.join(KEYS[::2])}\n"


def test_every_key_is_deleted_although_nobody_reads_what_is_printed(daemon: Daemon) -> None:
    keys = [f"{number:0500}" for number in range(200)]  # more than the output's buffer holds, as JSON
    set_all(daemon, keys)
    ours, theirs = os.pipe()
    os.close(ours)
    result = run_into(theirs, "--addr", daemon.addr, "--json", "del", *keys, "nope")
    os.close(theirs)
    assert complaint(result, 1) == "kvctl: no such key: nope\n"
    assert printed(run("--addr", daemon.addr, "count")) == b"0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_every_key_is_deleted_although_the_output_cannot_be_written(daemon: Daemon) -> None:
    set_all(daemon, KEYS)
    with Path("/dev/full").open("wb") as full:
        result = run_into(full.fileno(), "--addr", daemon.addr, "--json", "del", *KEYS)
    assert complaint(result, 5) == "kvctl: cannot write the output (No space left on device)\n"
    assert printed(run("--addr", daemon.addr, "count")) == b"0\n"
