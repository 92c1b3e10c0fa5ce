"""The transcripts of tests/vectors, over real TCP and over in-memory streams; their syntax is in the README there."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from signal import SIGTERM

import pytest

from kvd.access.users_file import load
from tests.support.memory import MemoryPeer, serving
from tests.support.processes import StartDaemon
from tests.support.vectors import Player, steps_of, tcp

VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("*.txt"))
OF_USERS = sorted((Path(__file__).parents[1] / "vectors" / "users").glob("*.txt"))


@pytest.mark.slow
@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
async def test_transcript_holds_over_tcp(vector: Path, end: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "no")
    async with AsyncExitStack() as stack:
        player = Player(tcp(daemon.port, stack), end, stop=partial(daemon.kill, SIGTERM))
        await player.play(steps_of(vector.read_text().split("\n")))
        await player.finish()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "bytewise"])
async def test_transcript_holds_over_memory(vector: Path, pieces: bool, tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as service:

        async def connect() -> MemoryPeer:
            return service.connect()

        player = Player(connect, pieces=pieces, stop=service.stop)
        await player.play(steps_of(vector.read_text().split("\n")))
        await player.finish()


@pytest.mark.parametrize("vector", OF_USERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "bytewise"])
async def test_transcript_of_users_holds(vector: Path, pieces: bool, tmp_path: Path) -> None:
    async with serving(tmp_path / "data", users=load(vector.with_name("users.toml"), "--users")) as service:

        async def connect() -> MemoryPeer:
            return service.connect()

        player = Player(connect, pieces=pieces, login="AUTH bob open sesame")
        await player.play(steps_of(vector.read_text().split("\n")))
        await player.finish()


async def play(transcript: str, tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as service:

        async def connect() -> MemoryPeer:
            return service.connect()

        player = Player(connect)
        await player.play(steps_of(transcript.split("\n")))
        await player.finish()


@pytest.mark.parametrize(
    "transcript",
    [
        "C: PING\nS: OK x",
        "C: PING x\nS: OK",
        "C: PING\nC: PING\nS: OK",
        "C: FROB\nS: ERR usage ...",
        "C: PING xyz\nS: OK x...",
        "C: SET k v\nS: OK 1\nC: LIST\nS: PAIR 1 k v\nS: OK 2@STORE",
        "C2: WATCH\nS2: OK 0@STORE\nC: SET k v\nS: OK 1\nS2: CHANGE 1@STORE SET k w",
        "C2: WATCH\nS2: OK 0@STORE\nC: SET k v\nS: OK 1\nC2: GET k\nS2: OK v",
        "C: QUIT\nS: OK ...\nS: OK",
        "C: PING\nS: <closed>",
    ],
)
async def test_a_transcript_that_does_not_hold_fails(transcript: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        await play(transcript, tmp_path)


def test_a_line_that_is_not_of_a_transcript_fails() -> None:
    with pytest.raises(AssertionError, match="line 2"):
        steps_of(["C: PING", "X: PING"])
