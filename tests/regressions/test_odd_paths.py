"""Any path that the system allows can be the data directory.

Reported: with '#', '?', '%2F' or a line feed in its name, the store could not be reached.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.daemons import fill, one_line_error, run_kvd
from tests.support.processes import Daemon, Redis, StartDaemon

pytestmark = pytest.mark.slow

NAMES = {
    "of a URL": b"a#b?db=3%2F%00user:secret@host:1",
    "of a shell": b' it\'s "so"  `no` $(exit)&;*\\n\\ ',
    "of lines": b"--dir\na\r\x1b[31m'\n",
    "not UTF-8": b"\xff\xfe'\xc3",
    "not ASCII": "grün \u202e\u2028".encode(),
    "of the engine": b"diff=7 ready to accept connections # ERROR in RDB reading",
    "long": b"x" * 255,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_directory_of_any_name_holds_a_store(start_daemon: StartDaemon, tmp_path: Path, name: bytes) -> None:
    odd = tmp_path / os.fsdecode(name)
    daemon = start_daemon(data=odd)
    fill(daemon, 50)
    fill(daemon, 50)
    daemon.crash()
    aof = daemon.append_only_file
    whole = aof.read_bytes()
    aof.write_bytes(whole + b"*3\r\n$4\r\nHSET\r\n")
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 50"
    daemon.stop()
    assert (odd / "life").exists()
    assert "the end of" in daemon.log
    assert all(line.isprintable() for line in daemon.log.splitlines())
    middle = whole.rindex(b"\r\n*", 0, whole.rindex(b"value40")) + 2
    aof.write_bytes(whole[:middle] + b"#" + whole[middle + 1 :])
    message = one_line_error(run_kvd("--data", str(odd)))
    assert message.isprintable()
    repair = message[message.index(": cp ") + 2 :]
    subprocess.run(["bash", "-c", repair], input=b"y\n", check=True, capture_output=True)
    assert aof.with_name(f"{aof.name}.damaged").exists()
    daemon.start()


def test_workers_find_the_store_too(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon("--workers", "2", data=tmp_path / "a#b\n\udcff")
    fill(daemon, 5)


@pytest.mark.parametrize("depth", [8, 15])
def test_a_path_may_be_very_long(start_daemon: StartDaemon, tmp_path: Path, depth: int) -> None:
    daemon = start_daemon(data=tmp_path.joinpath(*["x" * 250] * depth))
    fill(daemon, 5)
    daemon.kill()
    daemon.wait()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"


def test_a_place_for_the_socket_of_any_name(start_daemon: StartDaemon, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"a#b\n\xff")
    place.mkdir()
    daemon = start_daemon(data=tmp_path / ("x" * 200), TMPDIR=str(place))
    fill(daemon, 5)
    assert list(place.iterdir())


def test_the_socket_of_another_store_may_have_any_name_when_it_is_escaped(redis: Redis, tmp_path: Path) -> None:
    other = tmp_path / "a#b%"
    other.symlink_to(redis.directory)
    url = f"unix://:s3cret%3A%2F%40@{tmp_path}/a%23b%25/redis.sock"
    daemon = Daemon(tmp_path / "unused", ["--store", url])
    daemon.start()
    fill(daemon, 5)
    daemon.stop()
    assert "it has a '#'" in one_line_error(run_kvd("--store", url.replace("%23", "#")))
