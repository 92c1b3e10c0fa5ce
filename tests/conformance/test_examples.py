"""The examples of the clients in other languages follow a prefix through restarts, whatever its keys and output are."""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.support.languages import LANGUAGES, Workshop, command_of
from tests.support.processes import PATIENCE, Daemon, StartDaemon, needs, wait_for
from tests.support.scripted import Peer


class Example:
    """An example at work, its output and its position in files that stay."""

    def __init__(self, name: str, room: Path, place: Path, daemon: Daemon) -> None:
        self._output, self._state = place / f"{name}.output", place / f"{name}.state"
        words = LANGUAGES[name].example
        # Who is in their directory runs the scripts by their names alone.
        words, self._room = command_of(words, room) if LANGUAGES[name].build else words, room
        self._command = [*words, daemon.addr, "app/", str(self._state)]

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, cwd=self._room, start_new_session=True)

    def kill(self) -> None:
        os.killpg(self._process.pid, SIGKILL)
        self._process.wait(PATIENCE)

    def printed(self) -> list[str]:
        return self._output.read_text().splitlines()

    def shows(self, lines: list[str], position: str) -> None:
        """Wait until it has printed so many lines, which must be these, and has kept its position."""
        wait_for(f"{len(lines)} lines", lambda: len(self.printed()) >= len(lines) or self._process.poll() is not None)
        assert [line.rstrip() for line in self.printed()] == lines
        wait_for(position, lambda: self._state.exists() and self._state.read_text().startswith(f"{position}@"))


def tell(daemon: Daemon, *requests: str) -> str:
    """Write, and return the last revision."""
    with daemon.connect() as peer:
        return [peer.ask(request) for request in requests][-1].removeprefix("OK ")


def test_the_examples_follow_through_restarts(workshop: Workshop, start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Of the daemon, and of their own: each change is printed once."""
    names = [name for name, language in LANGUAGES.items() if os.environ.get("CI") or shutil.which(language.tool)]
    daemon = start_daemon("--fsync", "no")
    examples = [Example(name, workshop.prepare(name), tmp_path, daemon) for name in names]
    with ExitStack() as stack:

        def all_show(lines: list[str], position: str) -> None:
            for example in examples:
                example.shows(lines, position)

        def start() -> None:
            for example in examples:
                example.start()
                stack.callback(example.kill)

        tell(daemon, "SET app/a 1", "SET other 1")
        start()
        shown = ["is app/a 1"]
        all_show(shown, "2")
        position = tell(daemon, "SET app/b  two  words", "DEL app/a")
        shown += ["set app/b  two  words", "del app/a"]
        all_show(shown, position)
        daemon.stop()
        daemon.start()
        position = tell(daemon, "SET app/c 3")
        shown += ["set app/c 3"]
        all_show(shown, position)
        stack.close()
        position = tell(daemon, "SET app/d 4", "SET other 2", "SET app/e 5")
        start()
        shown += ["set app/d 4", "set app/e 5"]
        all_show(shown, position)


@pytest.mark.parametrize("name", LANGUAGES)
def test_an_example_says_its_usage(workshop: Workshop, name: str) -> None:
    needs(LANGUAGES[name].tool)
    room = workshop.prepare(name)
    command = command_of(LANGUAGES[name].example, room)
    done = subprocess.run(command, cwd=room, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
    assert done.stderr.endswith(" HOST:PORT PREFIX FILE\n")


ODD_KEYS = ["$(touch${IFS}ran)", "`touch${IFS}ran`", "a]b", "@", "*", "'", '"', "\\", "$x", "%s", "__proto__", "-n"]
"""That a language may take for more than a key, or that a shell would run."""


async def test_an_example_takes_keys_for_keys(workshop: Workshop, tmp_path: Path) -> None:
    """The one in bash ran commands in them, when they were deleted."""
    names = [name for name, language in LANGUAGES.items() if os.environ.get("CI") or shutil.which(language.tool)]
    copy = [f"PAIR {number} {key} v{number}" for number, key in enumerate(ODD_KEYS, 1)]
    kept = [f"is {key} v{number}" for number, key in enumerate(ODD_KEYS, 1)]
    gone = [f"GONE 19 {key}" for key in ODD_KEYS]
    for name in names:
        room = workshop.prepare(name)
        assert await printed(name, room, copy, tmp_path, len(kept)) == sorted(kept), name
        assert await printed(name, room, [*copy, *gone, "PAIR 20 last v"], tmp_path, 1) == ["is last v"], name
        assert not list(room.rglob("ran")), name


async def printed(name: str, room: Path, copy: list[str], place: Path, count: int) -> list[str]:
    """The first lines, so many, that an example prints of a copy, sorted."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        while request := await reader.readline():
            peer.say(*(["COPY new", *copy, "OK 20@aaaaaaaa"] if request == b"FOLLOW - *\n" else ["OK"]))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        example = await asyncio.create_subprocess_exec(
            *command_of(LANGUAGES[name].example, room), f"127.0.0.1:{port}", "", str(place / f"{name}.{port}"),
            cwd=room, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert example.stdout
        try:
            async with asyncio.timeout(PATIENCE):
                return sorted([(await example.stdout.readline()).decode().rstrip("\n") for _ in range(count)])
        finally:
            example.kill()
            await example.wait()


CLOSED = "a pipe that nobody reads"


@pytest.mark.parametrize("output", ["/dev/full", CLOSED])
@pytest.mark.parametrize("name", LANGUAGES)
def test_an_example_keeps_no_position_of_what_it_could_not_print(
    workshop: Workshop, shared_daemon: Daemon, tmp_path: Path, name: str, output: str
) -> None:
    """Neither of a copy nor of a change: it says why and ends."""
    needs(LANGUAGES[name].tool)
    command, state = command_of(LANGUAGES[name].example, workshop.prepare(name)), tmp_path / "state"
    prefix = f"unprinted-{name}-{len(output)}/"
    with shared_daemon.connect() as peer:
        revision = peer.ask(f"SET {prefix}a 1").removeprefix("OK ")
        peer.ask(f"SET {prefix}b 2")
        peer.send("INFO\n")
        (store,) = (line.split(" ")[2] for line in iter(peer.line, "OK") if line.startswith("INFO store "))
    command = [*command, shared_daemon.addr, prefix, str(state)]
    assert_it_ends_at_once(command, state, output)
    state.write_text(f"{revision}@{store}")
    assert_it_ends_at_once(command, state, output)


def assert_it_ends_at_once(command: list[str], state: Path, output: str) -> None:
    """Before it keeps another position, with a status and an error of its own."""
    before = kept(state)
    with unwritable(output) as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, cwd=Path(command[-1]).parent)
        try:
            wait_for("an end", lambda: process.poll() is not None or kept(state) != before)
            assert kept(state) == before
            assert process.wait(PATIENCE) > 0
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        assert re.search("(?i)no space left on device|broken pipe", errors.read())


def kept(state: Path) -> str:
    return state.read_text().strip() if state.exists() else ""


@contextmanager
def unwritable(output: str) -> Iterator[int]:
    if output != CLOSED:
        writes = os.open(output, os.O_WRONLY)
    else:
        reads, writes = os.pipe()
        os.close(reads)
    try:
        yield writes
    finally:
        os.close(writes)


def ending(workshop: Workshop, name: str, *words: str) -> str:
    """The error with which an example ends, at once and without having printed anything."""
    needs(LANGUAGES[name].tool)
    room = workshop.prepare(name)
    command = [*command_of(LANGUAGES[name].example, room), *words]
    done = subprocess.run(command, cwd=room, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode > 0
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("name", LANGUAGES)
def test_an_example_says_that_an_address_has_no_port(workshop: Workshop, tmp_path: Path, name: str) -> None:
    said = ending(workshop, name, "localhost", "app/", str(tmp_path / "state"))
    assert "usage" in said
    assert "usage: " not in said
    assert "TypeError" not in said


@pytest.mark.parametrize("prefix", ["two words/", "* ", "tab\t"])
@pytest.mark.parametrize("name", LANGUAGES)
def test_an_example_follows_no_more_than_its_prefix(
    workshop: Workshop, shared_daemon: Daemon, tmp_path: Path, name: str, prefix: str
) -> None:
    said = ending(workshop, name, shared_daemon.addr, prefix, str(tmp_path / "state"))
    assert "bad-key" in said
    assert "HASH" not in said
    assert said.endswith("\n")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("text", ["", "\n"])
@pytest.mark.parametrize("name", LANGUAGES)
def test_an_example_takes_no_empty_file_for_a_position(
    workshop: Workshop, shared_daemon: Daemon, tmp_path: Path, name: str, text: str
) -> None:
    """What changed since the position that it had would be lost without a word."""
    state = tmp_path / "state"
    state.write_text(text)
    said = ending(workshop, name, shared_daemon.addr, "app/", str(state))
    assert f"{state}: it holds no position" in said
    assert state.read_text() == text


@pytest.mark.parametrize("name", [name for name in LANGUAGES if name != "javascript"])  # Node opens /dev/null instead
def test_an_example_prints_nothing_to_the_daemon_where_it_has_no_output(
    workshop: Workshop, shared_daemon: Daemon, tmp_path: Path, name: str
) -> None:
    """The first file that a program opens takes the place of a standard output that is closed."""
    needs(LANGUAGES[name].tool)
    with shared_daemon.connect() as peer:
        peer.ask("SET closed/a 1")
    state, room = tmp_path / "state", workshop.prepare(name)
    command = [*command_of(LANGUAGES[name].example, room), shared_daemon.addr, "closed/", str(state)]
    closing = ["bash", "-c", 'exec "$@" >&-', "-", *command]
    done = subprocess.run(closing, cwd=room, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert done.returncode > 0
    assert re.search("(?i)bad file descriptor|invalid argument", done.stderr)
    assert not state.exists()
