"""The commands for single keys: get, set, del, ttl, touch, incr."""

import math

from kvd.cli.arguments import Arguments
from kvd.cli.output import Output, json_value
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
