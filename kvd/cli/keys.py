"""The commands for single keys: get, set, del, ttl, touch, incr."""

import math

from kvd.cli import readers
from kvd.cli.command import ON_A_TERMINAL, Arguments, Command, Option, connected
from kvd.cli.deleting import delete
from kvd.cli.output import Output, json_value
from kvd.cli.standard_input import value_on_stdin
from kvd.cli.status import USAGE, Failure, absent, asking
from kvd.client import Client


@connected
async def get(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"]
    item = await kv.gets(key)
    if item is None:
        raise absent(key)
    if out.as_json:
        out.line("", key=key, revision=item.revision, **json_value(item.value))
        return
    out.value(item.value)


def read_value(args: Arguments) -> None:
    if args["<VALUE>"] is None:
        args["<VALUE>"] = value_on_stdin(args)


@connected
async def set_(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"]
    with asking(writing=True):
        revision = await kv.set(key, args["<VALUE>"], ttl=args["--ttl"], if_revision=args["--if"])
    out.line(f"{revision}", key=key, revision=revision)


def check_condition(args: Arguments) -> None:
    if args["--if"] and len(args["<KEY>"]) > 1:
        raise Failure(USAGE, "--if goes with one key, for no two keys have the same revision")


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

REVISIONS = "set and del print the revision that the change took."

COMMANDS = (
    Command(
        "get", "<KEY>", "Use get <KEY> to fetch the value of that key from kv store", get,
        notes=("""\
get writes the value's bytes and nothing else; on a terminal, also a line's end.""", ON_A_TERMINAL),
    ),
    Command(
        "set", "<KEY> <VALUE>", "Use set <KEY> <VALUE> to create/update the key with given value in kv store", set_,
        options=(TTL, IF), prepare=read_value, verbatim=2,
        notes=(REVISIONS, """\
The word after set <KEY> is the value, even if it begins with -: options stand
before the key or after the value.  The value - is what comes from standard
input, every byte of it; what is longer than the daemon takes is not read to its
end.  The word -- ends the options."""),
    ),
    Command(
        "del", "<KEY>...", "Use del <KEY>... to delete these keys from kv store", connected(delete),
        options=(IF,), prepare=check_condition, notes=(REVISIONS,),
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
