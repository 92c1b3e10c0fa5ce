"""The commands that run another one while they hold a lock: lock, elect."""

from kvd.cli import readers
from kvd.cli.command import Arguments, Command, Option
from kvd.cli.output import Output

NOT_BEGUN = 125
"""Exit status: the command was not run, for kvctl has failed before."""

TTL = Option(
    "--ttl", "SECONDS", "Have others wait for so long when this machine is lost (unless\ngiven, 15)", readers.seconds
)
WAIT = Option(
    "--wait", "SECONDS", "Give up when it has not come to this after so long, with status 125", readers.seconds
)


def prepare(args: Arguments) -> None:
    from kvd.cli import holding

    holding.prepare(args)


async def lock(args: Arguments, _: Output) -> None:
    from kvd.cli import holding

    await holding.hold(args, None)


async def elect(args: Arguments, _: Output) -> None:
    from kvd.cli import holding

    await holding.hold(args, args["<VALUE>"])


COMMANDS = (
    Command(
        "lock", "<NAME> [--] <CMD>...", "Use lock <NAME> -- <CMD>... to run a command while a lock is held", lock,
        options=(TTL, WAIT), prepare=prepare, failure=NOT_BEGUN,
        notes=("""\
lock and elect wait for their turn, in the order in which all have asked, and then
run <CMD>, with the key that stands for the lock in KVD_LOCK_KEY and its revision,
greater from holder to holder, in KVD_LOCK_REVISION: with the line CHECK KEY if=REV
kvctl txn writes only what the holder may still write.  If the lock is lost, or kvctl
killed, <CMD> is ended: SIGTERM, and soon SIGKILL.  Signals to kvctl are passed on.
The exit status is that of <CMD>, but 124: the lock was lost; 125: kvctl has failed
before; 126: <CMD> cannot be run; 127: there is no such command.""",),
    ),
    Command(
        "elect", "<NAME> <VALUE> [--] <CMD>...", "Use elect <NAME> <VALUE> -- <CMD>... to run it while this one leads",
        elect, options=(TTL, WAIT), prepare=prepare, failure=NOT_BEGUN, reads=(("<VALUE>", readers.literal),),
        notes=("""\
elect is a lock whose holder leads, and <VALUE> is what others find of it: that of the
first key of kvctl list 'NAME/*'.""",),
    ),
)  # fmt: skip
