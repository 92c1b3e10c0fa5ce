"""The commands that ask and are answered."""

import math
from collections.abc import Awaitable, Callable

from kvd.cli.arguments import Arguments
from kvd.cli.deleting import delete
from kvd.cli.output import Output, as_on_the_wire, json_value
from kvd.cli.status import absent, asking
from kvd.client import Client


async def get(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
    item = await kv.gets(key)
    if item is None:
        raise absent(key)
    if out.as_json:
        out.line("", key=key, revision=item.revision, **json_value(item.value))
        return
    out.value(item.value)


async def set_(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
    with asking(writing=True):
        revision = await kv.set(key, args["<VALUE>"], ttl=args["--ttl"], if_revision=args["--if"])
    out.line(f"{revision}", key=key, revision=revision)


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


async def ttl(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
    seconds = await kv.ttl(key)
    if seconds is None:
        raise absent(key)
    if seconds == math.inf:
        out.line("-", key=key, ttl=None)
    else:
        out.line(f"{seconds:.3f}", key=key, ttl=seconds)


async def touch(kv: Client, args: Arguments, out: Output) -> None:
    key, seconds = args["<KEY>"][0], args["<SECONDS>"]
    with asking(writing=True):
        is_there = await kv.touch(key, seconds)
    if not is_there:
        raise absent(key)
    if out.as_json:
        out.line("", key=key, ttl=seconds)


async def incr(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
    with asking(writing=True):
        number = await kv.incr(key, 1 if args["<N>"] is None else args["<N>"])
    out.line(f"{number}", key=key, number=number)


async def info(kv: Client, _: Arguments, out: Output) -> None:
    facts = await kv.info()
    if out.as_json:
        out.line("", **facts)
        return
    for name, text in facts.items():
        out.line(f"{name} {text}")


async def ping(kv: Client, _: Arguments, out: Output) -> None:
    await kv.ping()
    out.line("OK", ok=True)


def _pattern(args: Arguments) -> str:
    return args["<PATTERN>"][0] if args["<PATTERN>"] else "*"


COMMANDS: dict[str, Callable[[Client, Arguments, Output], Awaitable[None]]] = {
    "get": get,
    "set": set_,
    "del": delete,
    "keys": keys,
    "list": list_,
    "count": count,
    "ttl": ttl,
    "touch": touch,
    "incr": incr,
    "info": info,
    "ping": ping,
}
"""The commands that ask and are answered; watch, which goes on, has a connection of another kind."""
