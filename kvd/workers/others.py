"""What workers ask each other, through their parent, which knows who is there.

A worker writes a line `ask NUMBER QUESTION`; the parent gives each of the others a question of its own number, which it
answers with a line `answer NUMBER ANSWER`; and the parent gives all answers to the one that asked.  A question of one
worker at a time: so all that waits in a pipe fits into it, and nobody waits to write, even if the parent is stopped.
"""

import asyncio
import base64
import pickle
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from kvd.errors import Unavailable
from kvd.session.clients import Answer, Question
from kvd.workers.config import Answered, Asked, Message

ASK, ANSWER = b"ask ", b"answer "
LONGEST_LINE = 1 << 20
"""Bytes of a line at the most; an answer is less than 64 KiB."""
PATIENCE = 2.0
"""Seconds that a worker has to answer.  One that is stopped must not keep the others waiting, and
ALL_PATIENCE: seconds for all that happens between a question and its answers."""
ALL_PATIENCE = 3.0
MOST_UNANSWERED = 20
"""Questions that a silent worker is given: more than these would fill its pipe."""
SILENT = "one of the daemon's processes does not answer; try again, and if it goes on, see whether it is stopped"


def packed(thing: Question | Answer) -> bytes:
    """In one word."""
    return base64.b64encode(pickle.dumps(thing))


def unpacked(word: bytes) -> Any:
    """What `packed` gave to another process of this daemon."""
    return pickle.loads(base64.b64decode(word))  # noqa: S301


class Asking:
    """The worker's side: an `Others`, as soon as it knows how to speak."""

    def __init__(self, say: Callable[[bytes], None]) -> None:
        """say: writes a line for the parent."""
        self._say = say
        self._turn = asyncio.Lock()
        self._number = 0
        self._waiting: asyncio.Future[tuple[bytes, ...] | None] | None = None

    async def ask(self, question: Question) -> Iterable[Answer]:
        """See `Others`."""
        async with self._turn:
            self._number += 1
            self._waiting = asyncio.get_running_loop().create_future()
            self._say(b"%b%d %b\n" % (ASK, self._number, packed(question)))
            try:
                async with asyncio.timeout(ALL_PATIENCE):
                    answers = await self._waiting
            except TimeoutError:
                answers = None
            finally:
                self._waiting = None
        if answers is None:
            raise Unavailable(SILENT)
        return [unpacked(answer) for answer in answers]

    def answered(self, message: Answered) -> None:
        """The parent says so."""
        if self._waiting and not self._waiting.done() and message.number == self._number:
            self._waiting.set_result(message.answers)

    def answer(self, asked: Asked, answer: Callable[[Question], Answer]) -> None:
        """Answer what another worker asks."""
        self._say(b"%b%d %b\n" % (ANSWER, asked.number, packed(answer(unpacked(asked.question)))))


class Told(Protocol):
    """A worker, as its parent sees it.  Compared by identity."""

    @property
    def serves(self) -> bool:
        """Whether it is there to answer."""

    async def tell(self, message: Message) -> None:
        """Give it something; returns when it has it, or is gone."""


class Exchange:
    """The parent's side."""

    def __init__(self) -> None:
        self._number = 0
        # For each worker the questions that it has not answered, also of those who wait no longer.
        self._open: dict[Told, dict[int, asyncio.Future[bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def hear(self, worker: Told, line: bytes) -> bool:
        """Take a line that a worker has written; False if it is no question and no answer."""
        if line.startswith(ASK):
            number, question = line.removeprefix(ASK).split()
            self._begin(self._ask(worker, int(number), question))
        elif line.startswith(ANSWER):
            number, answer = line.removeprefix(ANSWER).split()
            _end(self._open.get(worker, {}).pop(int(number), None), answer)
        else:
            return False
        return True

    def begin(self, worker: Told) -> None:
        """It may be asked."""
        self._open[worker] = {}

    def end(self, worker: Told) -> None:
        """It has ended: it has no connections."""
        for waiting in self._open.pop(worker, {}).values():
            _end(waiting, b"")

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, asker: Told, number: int, question: bytes) -> None:
        found = await asyncio.gather(*(self._ask_one(one, question) for one in list(self._open) if one is not asker))
        answers = None if None in found else tuple(answer for answer in found if answer)
        await asker.tell(Answered(number, answers))

    async def _ask_one(self, worker: Told, question: bytes) -> bytes | None:
        """Its answer, b"" if it is not there to give one; None: it is silent."""
        unanswered = self._open.get(worker)
        # It may have ended a moment ago.
        if unanswered is None or not worker.serves:
            return b""
        if len(unanswered) >= MOST_UNANSWERED:
            return None
        self._number += 1
        waiting = unanswered[self._number] = asyncio.get_running_loop().create_future()
        self._begin(worker.tell(Asked(self._number, question)))
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(waiting)
        except TimeoutError:
            return None


def _end(waiting: asyncio.Future[bytes] | None, answer: bytes) -> None:
    if waiting and not waiting.done():
        waiting.set_result(answer)
