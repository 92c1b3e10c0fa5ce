"""kvctl watch --state: what is no file, another watch's file, a link, and a --since beside it.

Reported: it hung on a FIFO, replaced a link by a file, and two watches shared one position without a word.
"""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kvd.client import FilePosition
from tests.support.kvctl import complaint, watching
from tests.support.processes import Daemon
from tests.support.watches import changes, sets, watch, write


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_and_stays(shared_daemon: Daemon, tmp_path: Path, kind: str) -> None:
    state = tmp_path / "state"
    NO_FILES[kind](state)
    said = complaint(watch(shared_daemon, "--state", str(state), "--count", "1"), 5)
    assert f"--state: cannot read {state} (it is {kind}; expected a file" in said
    with pytest.raises(OSError, match=f"it is {kind}; expected a file"):
        FilePosition(state).save("8@c3d1a7f0")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert not state.is_file()


@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a device"])
def test_what_stands_in_the_way_of_the_new_file_is_removed(tmp_path: Path, kind: str) -> None:
    NO_FILES[kind](tmp_path / "state.new")
    place = FilePosition(tmp_path / "state")
    place.save("8@c3d1a7f0")
    assert place.load() == "8@c3d1a7f0"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_link_stays_and_its_target_has_the_position(shared_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link, other = tmp_path / "elsewhere" / "real", tmp_path / "link", tmp_path / "other"
    link.symlink_to("elsewhere/real")
    other.symlink_to("link")
    begin = str(write(shared_daemon, sets("link/a", 0)))
    write(shared_daemon, sets("link/a", 1, 2))
    words = ("link/*", "--since", begin, "--count", "1", "--state")
    assert changes(watch(shared_daemon, *words, str(link))) == ["SET link/a 1"]
    assert changes(watch(shared_daemon, *words, str(other))) == ["SET link/a 2"]
    assert link.is_symlink()
    assert other.is_symlink()
    assert target.read_text().startswith(f"{int(begin) + 2}@")


def test_a_second_watch_of_one_file_is_refused(shared_daemon: Daemon, tmp_path: Path) -> None:
    state, link = tmp_path / "state", tmp_path / "link"
    link.symlink_to(state)
    with watching(shared_daemon.addr, "two/*", "--state", str(state)) as first:
        for path in (state, link):
            said = complaint(watch(shared_daemon, "two/*", "--state", str(path), "--count", "1"), 5)
            assert f"another kvctl watch keeps its position in {path}" in said
        write(shared_daemon, sets("two/a", 1))
        assert first.line().endswith(b" SET two/a 1\n")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    write(shared_daemon, sets("two/a", 2))
    # What a killed one had not yet kept comes again.
    with watching(shared_daemon.addr, "two/*", "--state", str(state)) as second:
        line = second.line()
        assert (second.line() if line.endswith(b" SET two/a 1\n") else line).endswith(b" SET two/a 2\n")


def test_it_says_that_since_is_not_what_it_begins_with(shared_daemon: Daemon, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    begin = write(shared_daemon, sets("since/a", 0, 1, 2, 3)) - 3
    words = ("since/*", "--state", state, "--count", "1", "--since")
    assert b"--since" not in watch(shared_daemon, *words, str(begin)).stderr
    for since in (begin, begin + 3):
        result = watch(shared_daemon, *words, str(since))
        assert b" (from --state; --since is ignored): since/*\n" in result.stderr
        assert changes(result) == [f"SET since/a {2 if since == begin else 3}"]


def test_a_position_that_was_given_is_kept_before_the_first_command(shared_daemon: Daemon, tmp_path: Path) -> None:
    """Found by use: with --since, a first command that failed left no file, and the next start missed its change."""
    state = tmp_path / "state"
    since = write(shared_daemon, sets("given/a", 0))
    write(shared_daemon, sets("given/a", 1))
    failed = watch(shared_daemon, "given/*", "--state", str(state), "--since", str(since), "--exec", "exit 9")
    assert failed.returncode == 9, failed.stderr
    assert changes(watch(shared_daemon, "given/*", "--state", str(state), "--count", "1")) == ["SET given/a 1"]
