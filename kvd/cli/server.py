"""The commands for the daemon itself: info, ping."""

from kvd.cli.command import Arguments, Command, connected
from kvd.cli.output import Output
from kvd.client import Client


@connected
async def info(kv: Client, _: Arguments, out: Output) -> None:
    facts = await kv.info()
    if out.as_json:
        out.line("", **facts)
        return
    for name, text in facts.items():
        out.line(f"{name} {text}")


@connected
async def ping(kv: Client, _: Arguments, out: Output) -> None:
    await kv.ping()
    out.line("OK", ok=True)


COMMANDS = (
    Command("info", "", "Use info to see what the daemon says of itself", info),
    Command("ping", "", "Use ping to see whether the daemon answers", ping),
)
