"""kvd.session.unsent: a piece of which anything is left is kept whole."""

from asyncio import BaseTransport
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvd.counts import Counts
from kvd.session.budget import NOTED_BYTES, Budget
from kvd.session.output import Output
from kvd.session.unsent import PIECE_BYTES, Unsent

PIECE = PIECE_BYTES + 1


class Waiting(BaseTransport):
    """Of which some bytes have not been sent."""

    size = 0

    def get_write_buffer_size(self) -> int:
        return self.size

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        assert data
        self.size = 1  # the kernel has the rest


@pytest.fixture
def transport() -> Waiting:
    return Waiting()


def written(transport: Waiting, unsent: Unsent, size: int, sent: int = 0) -> None:
    transport.size += size - sent
    unsent.add(size)


def test_what_was_sent_at_once_is_not_kept(transport: Waiting) -> None:
    unsent = Unsent(transport)
    written(transport, unsent, PIECE, PIECE)
    assert unsent.held == 0


def test_a_piece_is_kept_whole_until_all_of_it_is_sent(transport: Waiting) -> None:
    unsent = Unsent(transport)
    written(transport, unsent, PIECE, 1)
    assert unsent.held == PIECE
    transport.size = 1
    assert unsent.held == PIECE
    transport.size = 0
    assert unsent.held == 0


def test_a_piece_that_is_sent_is_not_kept_for_those_after_it(transport: Waiting) -> None:
    unsent = Unsent(transport)
    written(transport, unsent, 3 * PIECE, PIECE)
    written(transport, unsent, PIECE)
    assert unsent.held == 4 * PIECE
    transport.size = PIECE
    assert unsent.held == PIECE
    transport.size += 2 * PIECE
    unsent.add(2 * PIECE)
    transport.size = 1
    assert unsent.held == 2 * PIECE


def test_a_later_piece_does_not_bring_back_one_that_is_sent(transport: Waiting) -> None:
    unsent = Unsent(transport)
    written(transport, unsent, 8 * PIECE, 1)
    transport.size = 0
    written(transport, unsent, PIECE)
    assert unsent.held == PIECE


def test_small_pieces_count_together(transport: Waiting) -> None:
    unsent = Unsent(transport)
    for _ in range(1000):
        written(transport, unsent, 100)
    assert 100_000 <= unsent.held < 100_000 + PIECE
    transport.size = 50
    assert 50 <= unsent.held <= PIECE


def test_what_was_never_told_counts_as_it_waits(transport: Waiting) -> None:
    unsent = Unsent(transport)
    transport.size = 3
    assert unsent.held == 3


@pytest.fixture
def told() -> list[int]:
    """What was held whenever it was told that it has grown."""
    return []


@pytest.fixture
def output(transport: Waiting, told: list[int]) -> Output:
    writer = cast(Any, SimpleNamespace(transport=transport))
    sent = memoryview(bytearray(8)).cast("q")
    made = Output(writer, 2 * PIECE, lambda: told.append(made.held), sent, Budget(0, Counts()))
    return made


@pytest.mark.parametrize("way", ["reply", "send", "push"])
def test_a_large_piece_of_which_a_byte_is_left_is_told_of_at_once(way: str, output: Output, told: list[int]) -> None:
    """Found: as little was left, nobody was told, and it counted in the next round."""
    getattr(output, way)(b"x" * PIECE)
    output.write()
    assert told == [PIECE]
    getattr(output, way)(b"x")
    output.write()
    assert told == [PIECE]


async def test_what_is_collected_while_the_store_is_waited_for_is_told_of(output: Output, told: list[int]) -> None:
    """Found: the last value of each connection was in no count, up to where it would have been written."""
    output.reply(b"x" * (NOTED_BYTES - 1))
    await output.flush_if_full()
    assert told == []
    output.reply(b"x")
    await output.flush_if_full()
    assert told == [NOTED_BYTES]
