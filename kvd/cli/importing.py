"""The command that writes the keys of a file: import."""

import re
import tempfile

from kvd.cli import foreign, interrupts
from kvd.cli.bulk_writing import Writing
from kvd.cli.command import Arguments
from kvd.cli.entries import Reader
from kvd.cli.output import Output, say_amid
from kvd.cli.progress import progress
from kvd.cli.speaking import speaking
from kvd.cli.writes import Writes, is_typed
from kvd.client import LARGEST_VALUE, requests
from kvd.client.lines import Line, Reply
from kvd.client.raw import RawLines

CREATE_ONLY, DRY_RUN, FROM = "--create-only", "--dry-run", "--from"


def import_(args: Arguments, out: Output) -> None:
    """Look at all lines, and then write what they say."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as owned:
        with speaking(args) as daemon:
            reader = Reader(_max_value(daemon), create_only=args[CREATE_ONLY])
        writes = Writes(reader, file, owned)
        read = foreign.READERS[args[FROM]] if args[FROM] else Writes.read_lines
        with progress("reading", None, shown=not is_typed(args["<FILE>"])) as advance:
            read(writes, args["<FILE>"], advance)
        writes.check()
        if args[DRY_RUN]:
            out.line(f"{writes.count} keys to write", keys=writes.count)
            return
        writing = Writing(create_only=args[CREATE_ONLY])
        told = interrupts.at_end(lambda: say_amid(writing.done(writes.count)))
        with told, speaking(args) as daemon, progress("writing", writes.count) as advance:
            writing.write(daemon, writes.pieces(), advance)
    if failure := writing.failure(writes.count):
        raise failure
    there = f"; {writing.there} were there" if args[CREATE_ONLY] else ""
    out.line(f"{writing.applied} keys written{there}", written=writing.applied, there=writing.there)


def _max_value(daemon: RawLines) -> int:
    """Ask how many bytes a value may have."""
    request = requests.info()
    daemon.send(request.data)
    came: list[Line] = []
    while not came or came[-1].word not in (b"OK", b"ERR"):
        came += [Line(*line.partition(b" ")) for line in daemon.receive()]
    *facts, status = came
    said = request.result([Reply(status, facts)]).get("max-value", "")
    return min(int(said), LARGEST_VALUE) if re.fullmatch("[0-9]{1,15}", said) else LARGEST_VALUE
