"""The command for those who would use netcat: send."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence

from kvd.cli.command import Arguments
from kvd.cli.hangup import call_at_hangup
from kvd.cli.output import Output, say
from kvd.cli.speaking import Refused, speaking, verb_of
from kvd.cli.standard_input import tell_who_types
from kvd.cli.status import ABSENT, DONE, LOST, USAGE, Failure, failure_of, most_serious
from kvd.client import replies
from kvd.client.lines import STATUS, Line, Reply
from kvd.client.raw import RawLines
from kvd.client.received import LONGEST_LINE
from kvd.errors import ConnectionLost, KvdError

PIECE = 1 << 16
LONGEST_WHOLE = 1 << 20
"""Bytes of a line that is kept until its end has come; what is longer is sent as it comes."""
LOOK = 1.0
"""Seconds after which it is looked again whether an answer is due, for it is another thread that asks."""

_BEGIN_WATCH = frozenset((b"WATCH", b"RESUME", b"SYNC", b"FOLLOW"))
_END_TRANSACTION = frozenset((b"COMMIT", b"ABORT"))
_READS = _BEGIN_WATCH.union(
    (
        b"GET",
        b"GETS",
        b"TTL",
        b"KEYS",
        b"LIST",
        b"COUNT",
        b"CHANGES",
        b"UNWATCH",
        b"PROGRESS",
        b"PING",
        b"INFO",
        b"CLIENTS",
    ),
    (b"AUTH", b"HELP", b"QUIT", b"BEGIN", b"ABORT", b"CHECK"),
)


def send(args: Arguments, out: Output) -> None:
    """Send what is on standard input, while what comes is printed."""
    with speaking(args) as daemon:
        tell_who_types("requests, a line each,")
        Sending(daemon, out if sys.stdout.isatty() and not args["--raw"] else None).run()


class TooLong(Exception):
    """A line goes on for longer than any daemon reads."""


class Sending:
    """Lines that one thread sends, and whose replies another one prints."""

    def __init__(self, daemon: RawLines, screen: Output | None) -> None:
        """screen: where a terminal is to be kept from what comes."""
        self._daemon, self._screen = daemon, screen
        self._asked: deque[tuple[int, bytes]] = deque()
        """Lines without an answer, with their numbers."""
        self._is_watching = self._nobody_reads = self._is_sent = False
        self._is_within = False
        """Whether a long line is being sent, whose answer is not due."""
        self._begun = 0
        """The line of the BEGIN whose transaction is open, 0: none is."""
        self._unread = ""
        """Why standard input was not read to its end."""
        self._status = DONE

    def run(self) -> None:
        """Raises Failure, with the most serious status."""
        call_at_hangup(1, self._hang_up)
        threading.Thread(target=self._send, daemon=True).start()
        try:
            while not self._is_done:
                self._take(self._receive())
        except ConnectionLost as error:
            if self._nobody_reads:
                return
            self._lose(error)
        self._end()

    @property
    def _is_done(self) -> bool:
        """Nothing more is to come, whether or not the daemon ends the connection."""
        return self._is_sent and not self._asked and not self._is_watching

    # ---- the thread that sends

    def _send(self) -> None:
        try:
            self._send_all()
        except TooLong as error:
            self._unread = str(error)
        except OSError as error:
            self._unread = f"cannot read standard input ({error.strerror})"
        self._is_sent, self._is_within = True, False
        # Before all is answered nobody is told that nothing more comes: a balancer may drop the replies then.
        if self._is_done:
            self._daemon.finish()

    def _send_all(self) -> None:
        """Send lines as they come, up to QUIT: what stands after it would not be run."""
        number = 1
        begun = rest = b""
        while data := rest or os.read(0, PIECE):
            ended, found, begun = (begun + data).rpartition(b"\n")
            if found:
                lines = ended.split(b"\n")
                if not self._ask(number, lines):
                    return
                number += len(lines)
            rest = b""
            if len(begun) > LONGEST_WHOLE:
                begun, rest = b"", self._send_long(number, begun)
                number += 1
        if begun:
            self._ask(number, [begun])

    def _send_long(self, number: int, data: bytes) -> bytes:
        """Send a line as it comes, which may have no end; return what came after it.  Raises TooLong."""
        self._is_within = True
        self._asked.append((number, data[:PIECE]))
        size = 0
        while data:
            line, end, rest = data.partition(b"\n")
            size += len(line)
            if size > LONGEST_LINE:
                raise TooLong(f"line {number} is longer than any that a daemon takes, and the last that was looked at")
            self._daemon.send_all(line + end)
            if end:
                self._is_within = False
                return rest
            data = os.read(0, PIECE)
        self._daemon.send_all(b"\n")
        return b""

    def _ask(self, number: int, lines: Sequence[bytes]) -> bool:
        """Send some; return whether more may be sent."""
        for place, line in enumerate(lines):
            self._asked.append((number + place, line))
            if verb_of(line) == b"QUIT":
                self._daemon.send_all(b"\n".join((*lines[: place + 1], b"")))
                return False
        self._daemon.send_all(b"\n".join((*lines, b"")))
        return True

    # ---- the thread that receives

    def _receive(self) -> list[bytes]:
        """What has come within a while."""
        self._daemon.expect(len(self._asked) > self._is_within)
        try:
            return self._daemon.receive(time.monotonic() + LOOK)
        except TimeoutError:
            return []

    def _take(self, came: Sequence[bytes]) -> None:
        if self._screen:
            for line in came:
                self._screen.line(line.decode(errors="backslashreplace"))
        else:
            sys.stdout.buffer.write(b"\n".join((*came, b"")))
        sys.stdout.buffer.flush()
        for line in came:
            word = line.partition(b" ")[0]
            if word in STATUS and self._asked:
                self._answer(word, line, *self._asked.popleft())
            elif word == b"END":
                self._is_watching = False
                self._status = most_serious((self._status, LOST))

    def _answer(self, word: bytes, line: bytes, number: int, asked: bytes) -> None:
        if verb_of(asked) in _END_TRANSACTION:
            self._begun = 0
        if word == b"ERR":
            self._refuse(line, number, asked)
        elif word in (b"NONE", b"CONFLICT"):
            self._status = most_serious((self._status, ABSENT))
        elif verb_of(asked) in _BEGIN_WATCH:
            self._is_watching = True
        elif verb_of(asked) in (b"UNWATCH", b"QUIT"):
            self._is_watching = False
        elif verb_of(asked) == b"BEGIN":
            self._begun = number

    def _refuse(self, line: bytes, number: int, asked: bytes) -> None:
        try:
            replies.answer(Reply(Line(*line.partition(b" "))), replies.ok)
        except KvdError as error:
            refused = Refused(number, asked, error)
            self._status = most_serious((self._status, refused.status))
            say(str(refused))

    def _hang_up(self) -> None:
        self._nobody_reads = True
        self._daemon.close()

    def _lose(self, error: ConnectionLost) -> None:
        """What it means that nothing more comes."""
        unanswered = [*self._asked]
        if not self._is_done:
            lost = failure_of(error, writing=any(verb_of(line) not in _READS for _, line in unanswered))
            number = f"line {unanswered[0][0]} and those after it have no answer: " if unanswered else ""
            raise Failure(most_serious((self._status, lost.status)), f"{number}{lost}")

    def _end(self) -> None:
        """What all of it came to."""
        if self._unread:
            raise Failure(most_serious((self._status, USAGE)), self._unread)
        if self._begun:
            text = f"line {self._begun}: no COMMIT came after this BEGIN: nothing of the transaction was done"
            raise Failure(most_serious((self._status, USAGE)), text)
        if self._status:
            raise Failure(self._status)
