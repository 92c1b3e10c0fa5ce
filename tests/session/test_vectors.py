"""The transcripts of tests/vectors, over real TCP and over in-memory streams; their syntax is in the README there."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from signal import SIGTERM

import pytest

from kvd.access.users_file import load
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from tests.support.memory import MemoryPeer, serving, serving_on
from tests.support.processes import Redis, StartDaemon
from tests.support.vectors import VECTORS, Player, options_of, settings_of, steps_of, tcp, unescaped

OF_USERS = sorted((Path(__file__).parents[1] / "vectors" / "users").glob("*.txt"))


@pytest.mark.slow
@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
async def test_transcript_holds_over_tcp(vector: Path, start_daemon: StartDaemon) -> None:
    lines = vector.read_text().split("\n")
    daemon = start_daemon("--fsync", "no", *options_of(lines))
    async with AsyncExitStack() as stack:
        player = Player(tcp(daemon.port, stack), stop=partial(daemon.kill, SIGTERM))
        await player.play(steps_of(lines))
        await player.finish()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("end", "pieces"), [("\n", False), ("\r\n", True)], ids=["LF", "CRLF-bytewise"])
async def test_transcript_holds_over_memory(vector: Path, end: str, pieces: bool, redis_of_all: Redis) -> None:
    lines = vector.read_text().split("\n")
    redis_of_all.cli("FLUSHALL")
    settings = settings_of(options_of(lines))
    async with serving_on(StoreLocation(redis_of_all.unix_url, None).open(settings), settings) as service:

        async def connect() -> MemoryPeer:
            return service.connect()

        player = Player(connect, end, pieces, stop=service.stop)
        await player.play(steps_of(lines))
        await player.finish()


@pytest.mark.parametrize("vector", OF_USERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "bytewise"])
async def test_transcript_of_users_holds(vector: Path, pieces: bool, redis_of_all: Redis) -> None:
    redis_of_all.cli("FLUSHALL")
    users = load(vector.with_name("users.toml"), "--users")
    settings = Settings()
    store = StoreLocation(redis_of_all.unix_url, None).open(settings)
    async with serving_on(store, settings, users=users) as service:

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
        "C~ PING\\nPING\\n\nS~ OK\\n",
        "C~ SET k v\nC: <half-close>\nS: OK 1",
        "C: PING\nS: OK\nC: <half-close>\nC2: PING\nS2: OK\nS: OK",
    ],
)
async def test_a_transcript_that_does_not_hold_fails(transcript: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        await play(transcript, tmp_path)


def test_a_line_that_is_not_of_a_transcript_fails() -> None:
    with pytest.raises(AssertionError, match="line 2"):
        steps_of(["C: PING", "X: PING"])


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("PING", b"PING"),
        (r"a\\b\n", b"a\\b\n"),
        (r"\t\r\x00\xff", b"\t\r\x00\xff"),
        ("\u00e9", b"\xc3\xa9"),
        (r"\{3 ab}c", b"abababc"),
        (r"\{2  a*\n}", b" a*\n a*\n"),
    ],
)
def test_escapes_stand_for_bytes(text: str, data: bytes) -> None:
    assert unescaped(text) == data


@pytest.mark.parametrize("text", ["\\", r"\q", r"\xF", r"\xFF", r"\{0 a}", r"\{2 a", r"a\n\{x a}"])
def test_what_is_no_escape_fails(text: str) -> None:
    with pytest.raises(AssertionError, match="no such escape"):
        unescaped(text)


def test_what_is_expected_has_line_ends() -> None:
    with pytest.raises(AssertionError, match="line 1"):
        steps_of([r"S~ OK"])
