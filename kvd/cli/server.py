"""The commands for the daemon itself: info, ping, clients, kick."""

from datetime import UTC, datetime

from kvd.cli import readers
from kvd.cli.command import Arguments, Command, connected
from kvd.cli.output import Output
from kvd.cli.status import ABSENT, Failure
from kvd.client import Client


@connected
async def info(kv: Client, args: Arguments, out: Output) -> None:
    facts = await kv.info(args["<SECTION>"])
    if out.as_json:
        out.line("", **facts)
        return
    for name, text in facts.items():
        out.line(f"{name} {text}")


@connected
async def ping(kv: Client, _: Arguments, out: Output) -> None:
    await kv.ping()
    out.line("OK", ok=True)


@connected
async def clients(kv: Client, _: Arguments, out: Output) -> None:
    async for one in kv.clients():
        since = datetime.fromtimestamp(one.since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        facts = one._asdict() | {"since": since}
        watched = "".join(f" watch={pattern}" for pattern in facts.pop("watched"))
        words = " ".join(f"{name}={said or '-' if name in ('address', 'user') else said}"
                         for name, said in facts.items() if name != "id")  # fmt: skip
        out.line(f"{one.id} {words}{watched}", **facts, watched=one.watched)


@connected
async def kick(kv: Client, args: Arguments, out: Output) -> None:
    if not await kv.kick(args["<ID>"]):
        raise Failure(ABSENT, f"no such connection: {args['<ID>']}; kvctl clients lists those that there are")
    out.line("OK", ok=True)


COMMANDS = (
    Command(
        "info",
        "[<SECTION>]",
        "Use info to see what the daemon says of itself",
        info,
        reads=(("<SECTION>", readers.text),),
        notes=("""\
A SECTION of metrics is daemon, clients, requests, watchers, store, or all.  The
section quotas shows who may administer how much of their quotas users have taken.""",),
    ),
    Command("ping", "", "Use ping to see whether the daemon answers", ping),
    Command(
        "clients", "", "Use clients to see who is connected to the daemon", clients,
        notes=("""\
clients prints a line for each connection to the daemon: its id, from where it comes,
as whom it has logged in, since when it is there, how many requests it has sent, the
bytes of memory that the daemon holds for it, and how many patterns it watches, of
which the first follow.  It takes the right admin, where there are users.""",),
    ),
    Command(
        "kick", "<ID>", "Use kick to end a connection to the daemon", kick, reads=(("<ID>", readers.text),),
        notes=("""\
<ID> is what clients prints first.  A program that goes on trying connects again: to
keep it out, take its rights, or its user, away.
It takes the right admin, where there are users.""",),
    ),
)  # fmt: skip
