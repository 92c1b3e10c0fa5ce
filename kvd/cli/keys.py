"""The commands for single keys: get, set, append, del, edit, ttl, touch, incr."""

import math
from functools import partial

from kvd.cli import readers
from kvd.cli.command import MIN, ON_A_TERMINAL, Arguments, Command, Option, connected
from kvd.cli.deleting import check_deletion, delete
from kvd.cli.editing import edit, prepare_edit
from kvd.cli.output import Output, json_value
from kvd.cli.pipelining import every
from kvd.cli.standard_input import value_in_file, value_on_stdin
from kvd.cli.status import USAGE, Failure, absent, asking
from kvd.client import Client, Item


@connected
async def get(kv: Client, args: Arguments, out: Output) -> None:
    keys = args["<KEY>"]
    items = await every(partial(kv.gets, min_position=args["--min"]), keys)
    for item in items:
        if item is not None:
            _show(item, out, is_line=args["--show-rev"] or len(keys) > 1, revision=args["--show-rev"])
    if missing := [key for key, item in zip(keys, items, strict=True) if item is None]:
        raise absent(*missing)


def _show(item: Item, out: Output, *, is_line: bool, revision: bool) -> None:
    if out.as_json:
        out.line("", key=item.key, revision=item.revision, **json_value(item.value))
        return
    if revision:
        out.write(b"%d " % item.revision)
    out.value(item.value, is_line=is_line)


def read_value(args: Arguments) -> None:
    if args["--create"]:
        if args["--if"] is not None:
            raise Failure(USAGE, "--create and --if are two conditions: expected one of them")
        args["--if"] = "0"
    if args["--file"] is not None:
        args["<VALUE>"] = value_in_file(args)
    else:
        read_word(args)


def read_word(args: Arguments) -> None:
    if args["<VALUE>"] is None:
        args["<VALUE>"] = value_on_stdin(args)


@connected
async def set_(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"]
    with asking(writing=True, condition="--create" if args["--create"] else "--if"):
        revision = await kv.set(key, args["<VALUE>"], ttl=args["--ttl"], if_revision=args["--if"])
    out.line(f"{revision}", key=key, revision=revision)


@connected
async def append(kv: Client, args: Arguments, out: Output) -> None:
    with asking(writing=True):
        item = await kv.append(args["<PREFIX>"], args["<VALUE>"], ttl=args["--ttl"])
    out.line(item.key, key=item.key, revision=item.revision)


@connected
async def ttl(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"]
    seconds = await kv.ttl(key)
    if seconds is None:
        raise absent(key)
    if seconds == math.inf:
        out.line("-", key=key, ttl=None)
    else:
        out.line(f"{seconds:.3f}", key=key, ttl=seconds)


@connected
async def touch(kv: Client, args: Arguments, out: Output) -> None:
    key, seconds = args["<KEY>"], args["<SECONDS>"]
    with asking(writing=True):
        is_there = await kv.touch(key, seconds, if_revision=args["--if"])
    if not is_there:
        raise absent(key)
    if out.as_json:
        out.line("", key=key, ttl=seconds)


@connected
async def incr(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"]
    with asking(writing=True):
        number = await kv.incr(key, 1 if args["<N>"] is None else args["<N>"])
    out.line(f"{number}", key=key, number=number)


TTL = Option("--ttl", "SECONDS", "Let the key expire after so many seconds, such as 600 or 0.5", readers.seconds)
IF = Option("--if", "REV", "Only if the key has this revision; 0: if there is no such key", readers.revision)

CREATE = Option("--create", "", "Only if there is no such key")
FILE = Option("--file", "PATH", "The value is what this file holds", readers.path, in_words=True)
PREFIX = Option("--prefix", "PREFIX", "Delete all keys that begin so", readers.prefix, in_words=True)
YES = Option("--yes", "", "Do not ask")

REVISIONS = "set and del print the revision that the change took."

COMMANDS = (
    Command(
        "get", "<KEY>...", "Use get <KEY> to fetch the value of that key from kv store", get,
        options=(Option("--show-rev", "", "Print the revision and a space before the value"), MIN),
        notes=("""\
get writes the value's bytes and nothing else; on a terminal, also a line's end.  Of
several keys, or with --show-rev, each value is followed by a line's end.""", ON_A_TERMINAL),
    ),
    Command(
        "set", "<KEY> (<VALUE> | --file=PATH)",
        "Use set <KEY> <VALUE> to create/update the key with given value in kv store", set_,
        options=(TTL, IF, CREATE, FILE), prepare=read_value, verbatim=2, instead="--file",
        notes=(REVISIONS, """\
The word after set <KEY> is the value, even if it begins with -: options stand
before the key or after the value.  The value - is what comes from standard
input, every byte of it; what is longer than the daemon takes is not read to its
end.  The word -- ends the options."""),
    ),
    Command(
        "append", "<PREFIX> <VALUE>",
        "Use append <PREFIX> <VALUE> to create a new key, after all that begin so", append,
        options=(TTL,), prepare=read_word, verbatim=2, notes=("""\
append prints the new key: the prefix, and the revision that it took, in 16 digits.""",),
    ),
    Command(
        "del", "(<KEY>... | --prefix=PREFIX)", "Use del <KEY>... to delete these keys from kv store",
        connected(delete), options=(IF, PREFIX, YES), prepare=check_deletion, notes=(REVISIONS, """\
del --prefix prints how many keys it deleted; on a terminal it asks before.
From elsewhere an empty prefix, with which every key begins, is refused without --yes."""),
    ),
    Command(
        "edit", "<KEY>", "Use edit <KEY> to change the value of that key in your editor", edit, prepare=prepare_edit,
        notes=("""\
edit starts VISUAL, EDITOR or vi, and writes back what was changed, if nobody else
has written the key meanwhile; the time to live stays, or, for who may watch the key,
the key with which it lives.  What could not be written back is kept, and it says
where.  Exit status 126: the editor cannot be run, or fails.""",),
    ),
    Command("ttl", "<KEY>", "Use ttl <KEY> to see in how many seconds that key expires (-: never)", ttl),
    Command(
        "touch", "<KEY> <SECONDS>", "Use touch <KEY> <SECONDS> to let that key expire then (-: never)", touch,
        options=(IF,),
    ),
    Command(
        "incr", "<KEY> [<N>]", "Use incr <KEY> [<N>] to add N, 1 unless given, to the number that key holds", incr
    ),
)  # fmt: skip
