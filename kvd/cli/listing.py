"""The commands for many keys: keys, list, count."""

from kvd.cli.arguments import Arguments
from kvd.cli.output import Output, as_on_the_wire, json_value
from kvd.client import Client


async def keys(kv: Client, args: Arguments, out: Output) -> None:
    async for key in kv.keys(_pattern(args), args["--after"], args["--limit"]):
        out.line(key, key=key)


async def list_(kv: Client, args: Arguments, out: Output) -> None:
    async for key, value, revision in kv.list(_pattern(args), args["--after"], args["--limit"]):
        word, text = as_on_the_wire("PAIR", value)
        out.line(f"{word} {revision} {key} {text}", key=key, revision=revision, **json_value(value))


async def count(kv: Client, args: Arguments, out: Output) -> None:
    number = await kv.count(_pattern(args))
    out.line(f"{number}", count=number)


def _pattern(args: Arguments) -> str:
    return args["<PATTERN>"][0] if args["<PATTERN>"] else "*"
