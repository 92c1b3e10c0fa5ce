"""The commands for the daemon itself: info, ping."""

from kvd.cli.arguments import Arguments
from kvd.cli.output import Output
from kvd.client import Client


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
