"""The commands for many keys: keys, list, count."""

from typing import Any

from kvd.cli import readers
from kvd.cli.command import MIN, ON_A_TERMINAL, PATTERN, Arguments, Command, Option, connected
from kvd.cli.output import Output, as_on_the_wire, json_value
from kvd.client import Client


@connected
async def keys(kv: Client, args: Arguments, out: Output) -> None:
    async for key in kv.keys(_pattern(args), **_part(args)):
        out.line(key, key=key)


@connected
async def list_(kv: Client, args: Arguments, out: Output) -> None:
    async for key, value, revision, *_ in kv.list(_pattern(args), **_part(args)):
        if not revision:  # of --fold, for all that begin so
            out.line(f"KEY {key}", key=key)
            continue
        word, text = as_on_the_wire("PAIR", value)
        out.line(f"{word} {revision} {key} {text}", key=key, revision=revision, **json_value(value))


@connected
async def count(kv: Client, args: Arguments, out: Output) -> None:
    number = await kv.count(_pattern(args), min_position=args["--min"])
    out.line(f"{number}", count=number)


def _pattern(args: Arguments) -> str:
    return "*" if args["<PATTERN>"] is None else args["<PATTERN>"]


def _part(args: Arguments) -> dict[str, Any]:
    part = {name: args[f"--{name}"] for name in ("after", "before", "limit", "reverse", "fold")}
    return {**part, "min_position": args["--min"]}


PART = (
    Option("--after", "KEY", "Only keys after this one", readers.key),
    Option("--before", "KEY", "Only keys before this one", readers.key),
    Option("--limit", "N", "End after so many keys", readers.number),
    Option("--reverse", "", "From the last key to the first"),
    Option(
        "--fold",
        "TEXT",
        "Of all keys that have this text after what the pattern names,\n"
        "what they begin with up to there, once: --fold / is one directory",
        readers.key,
    ),
    MIN,
)

COMMANDS = (
    Command(
        "keys", "[<PATTERN>]", "Use keys to list the keys in kv store", keys, options=PART,
        notes=(PATTERN, ON_A_TERMINAL),
    ),
    Command(
        "list", "[<PATTERN>]", "Use list to list the keys in kv store with their values", list_, options=PART,
        notes=(PATTERN, """\
list prints lines PAIR REV KEY VALUE; a value that is not one line of text is in
base64, and the word before it is PAIR64.  With --fold, KEY and what keys begin with
stand for all of these.""", ON_A_TERMINAL),
    ),
    Command("count", "[<PATTERN>]", "Use count to count the keys in kv store", count, options=(MIN,), notes=(PATTERN,)),
)  # fmt: skip
