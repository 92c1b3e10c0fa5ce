"""The command that does several lines of the wire together: txn."""

import os

from kvd.cli.command import Arguments
from kvd.cli.output import Output
from kvd.cli.speaking import Refused, speaking, verb_of
from kvd.cli.standard_input import tell_who_types
from kvd.cli.status import ABSENT, USAGE, Failure, failure_of, most_serious
from kvd.client import Conflict, replies
from kvd.client.lines import Line, Reply
from kvd.errors import Aborted, KvdError

VERBS = frozenset((b"SET", b"PUT", b"DEL", b"TOUCH", b"INCR", b"CHECK"))
MOST_BYTES = 4 << 20
"""Of all lines: in a transaction is a mebibyte of keys and values, which base64 makes longer by a third."""
PIECE = 1 << 16
MOST_TOLD = 10
"""Lines that were refused that are named one by one."""

Lines = list[tuple[int, bytes]]
"""With their numbers."""


def txn(args: Arguments, out: Output) -> None:
    """Send all in one piece, and print what COMMIT says."""
    lines = _lines()
    _check(lines)
    with speaking(args) as daemon:
        daemon.send(b"\n".join((b"BEGIN", *(line for _, line in lines), b"COMMIT", b"")))
        came: list[Reply] = []
        try:
            while len(came) < len(lines) + 2:
                came += [Reply(Line(*line.partition(b" "))) for line in daemon.receive()]
        except KvdError as error:
            raise failure_of(error, writing=any(verb_of(line) != b"CHECK" for _, line in lines)) from None
    begun, *queued, committed = came
    replies.answer(begun, replies.ok)
    _tell(committed, out)
    if refused := _refused(lines, queued):
        told = [str(one) for one in refused[:MOST_TOLD]]
        if more := refused[MOST_TOLD:]:
            told.append(f"{len(more)} more lines were refused")
        raise Failure(most_serious(one.status for one in refused), *told, "nothing was done")
    _judge(committed)


def _lines() -> Lines:
    """Standard input, without empty lines.  Raises Failure."""
    data = bytearray()
    tell_who_types("the lines of a transaction, such as SET key value,")
    try:
        while (piece := os.read(0, PIECE)) and len(data) <= MOST_BYTES:
            data += piece
    except OSError as error:
        raise Failure(USAGE, f"cannot read standard input ({error.strerror})") from None
    if len(data) > MOST_BYTES:
        raise Failure(USAGE, "there is too much on standard input for a transaction")
    return [(number, line) for number, line in enumerate(bytes(data).split(b"\n"), 1) if line.strip()]


def _check(lines: Lines) -> None:
    """Of another verb the replies would be others, and the lines after a COMMIT not be done together with these."""
    if not lines:
        raise Failure(USAGE, "there is nothing on standard input: expected lines such as SET key value")
    for number, line in lines:
        if verb_of(line) not in VERBS:
            expected = "SET, PUT, DEL, TOUCH, INCR or CHECK (BEGIN and COMMIT are added)"
            raise Failure(USAGE, f"line {number}: expected {expected}: {Refused.shown(line)}", "nothing was done")
        try:
            line.decode()
        except UnicodeDecodeError:
            expected = "text in UTF-8 (any bytes: PUT key base64 = ...)"
            raise Failure(
                USAGE, f"line {number}: expected {expected}: {Refused.shown(line)}", "nothing was done"
            ) from None


def _refused(lines: Lines, queued: list[Reply]) -> list[Refused]:
    refused = []
    for (number, line), reply in zip(lines, queued, strict=True):
        try:
            replies.answer(reply, replies.queued)
        except KvdError as error:
            refused.append(Refused(number, line, error))
    return refused


def _tell(committed: Reply, out: Output) -> None:
    line = b"".join(committed.status).decode(errors="backslashreplace")
    word, _, text = line.partition(" ")
    first, _, rest = text.partition(" ")
    fields: dict[str, object] = {"status": word}
    if word == "ERR":
        fields |= {"code": first, "message": rest}
    else:
        fields["revision"] = int(first) if first.isdecimal() else first
        if rest:
            fields["key"] = rest
    out.line(line, **fields)
    out.flush()


def _judge(committed: Reply) -> None:
    """Raises Failure."""
    try:
        replies.answer(committed, replies.revision)
    except Conflict as conflict:
        raise Failure(ABSENT, f"nothing was done: {conflict}") from None
    except Aborted as error:
        raise Failure(USAGE, f"aborted: {error}") from None
    except KvdError as error:
        raise failure_of(error, writing=True) from None
