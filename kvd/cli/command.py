"""What a command of kvctl is: one row, from which its page, its usage and its options follow."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from kvd.cli import readers
from kvd.cli.output import Output
from kvd.cli.password import login
from kvd.cli.readers import Reader
from kvd.cli.status import USAGE, Failure
from kvd.client.tls import tls_context

if TYPE_CHECKING:
    from kvd.client import Client

Arguments = dict[str, Any]
"""What was given for the words of a command's usage and its options, by their names, such as <KEY> and --ttl."""

Run = Callable[[Arguments, Output], Coroutine[Any, Any, None] | None]
"""Does it, or makes a coroutine that does."""
Ask = Callable[["Client", Arguments, Output], Coroutine[Any, Any, None]]


class Option(NamedTuple):
    """An option.

    argument: what the page calls its argument, "" for none.  help: what it is for, in lines.
    several: whether it may be given several times.  in_words: it stands among the words of the usage.
    """

    name: str
    argument: str
    help: str
    read: Reader = readers.flag
    several: bool = False
    in_words: bool = False

    @property
    def usage(self) -> str:
        """How it is written."""
        return f"{self.name}={self.argument}" if self.argument else self.name


COMMON = (
    Option(
        "--addr", "ADDR",
        "The daemon, as HOST:PORT, HOST, [IPV6]:PORT or unix:PATH; several of\n"
        "one store with commas between them; unless given, 127.0.0.1:5830", readers.addresses,
    ),
    Option("--context", "NAME", "Take what is not given from this context of the file of settings", readers.text),
    Option("--tls", "", "Speak TLS, as with an ADDR that begins with tls:"),
    Option(
        "--ca", "FILE",
        "Who may have signed the daemon's certificate, in PEM, unless this\nmachine trusts them; with TLS",
        readers.path,
    ),
    Option("--cert", "FILE", "A certificate to show to the daemon, in PEM; with TLS", readers.path),
    Option("--key", "FILE", "The private key of that certificate, in PEM", readers.path),
    Option(
        "--user", "NAME",
        "Who you are, for a daemon that has users; the password is taken from\nthe variable KVCTL_PASSWORD",
        readers.text,
    ),
    Option("--password-file", "FILE", "Take the password from the first line of this file", readers.path),
    Option(
        "--timeout", "SECONDS",
        "Give the daemon up when it is silent for so long (unless given, 30,\n"
        "and 5 while connecting); 0: never", readers.seconds_or_no_limit,
    ),
    Option(
        "--json", "",
        'Print one JSON object a line; a value that is not UTF-8 has the\nname "base64" instead of "value"',
    ),
    Option("--raw", "", "Escape nothing on a terminal: every byte as it is stored"),
)  # fmt: skip
"""What every command takes."""

SETTINGS = {
    option.name: option
    for option in COMMON
    if option.name in ("--addr", "--tls", "--ca", "--cert", "--key", "--user", "--password-file", "--timeout")
}
"""Those that may come from the environment and from a context."""


def _nothing(_: Arguments) -> None:
    """Most commands prepare nothing."""


class Command(NamedTuple):
    """A command.

    words: those after its name, as docopt writes them.  help: one sentence.  notes: paragraphs of its page.
    options: its own.  prepare: does what cannot be done in an event loop, before `run`; raises Failure.
    verbatim: how many words stand before the one that is taken as it is, even if it begins with "-"; 0: there is none.
    endless: whether Ctrl-C is the way to end it.
    instead: an option that may stand, with its argument as the next word, where the word is that is taken as it is.
    reads: readers of its words, where they are not the usual ones.
    failure: the exit status where it cannot begin, 0: as of all others.
    is_local: it needs no daemon, and so none of the settings.
    """

    name: str
    words: str
    help: str
    run: Run
    options: tuple[Option, ...] = ()
    notes: tuple[str, ...] = ()
    prepare: Callable[[Arguments], None] = _nothing
    verbatim: int = 0
    endless: bool = False
    instead: str = ""
    reads: tuple[tuple[str, Reader], ...] = ()
    failure: int = 0
    is_local: bool = False

    @property
    def common(self) -> tuple[Option, ...]:
        """What it takes as others do: not --addr, where words name the daemons."""
        is_addressed = any(reader is readers.addresses for _, reader in self.reads)
        return tuple(option for option in COMMON if not (is_addressed and option.name == "--addr"))

    @property
    def before(self) -> list[str]:
        """The words before the -- after which another program stands, if there is one."""
        return self.words.partition(" [--] ")[0].split() if " [--] " in self.words else []


def connected(ask: Ask) -> Run:
    """Make a command of what asks on a connection."""

    async def run(args: Arguments, out: Output) -> None:
        from kvd.client import connect  # what only shows a page does without it

        async with await connect(args["--addr"], reconnect=0, **how(args)) as kv:
            await ask(kv, args, out)

    return run


def how(args: Arguments) -> dict[str, Any]:
    """Give the client's limits of time, its own unless --timeout says otherwise; what TLS needs, and who it is."""
    seconds = args["--timeout"]
    limits = {} if seconds is None else {"connect_timeout": seconds, "timeout": seconds}
    try:
        tls = tls_context(bool(args["--tls"]), args["--ca"], args["--cert"], args["--key"])
    except ValueError as error:
        raise Failure(USAGE, f"--{error}".replace("--cert and key", "--cert and --key")) from None
    return limits | {"tls": tls or False} | login(args)


ON_A_TERMINAL = """\
On a terminal what would act on it, control characters and those that change the
direction of text or are not seen, is shown as \\x1b or \\u202e, and a byte that is
not UTF-8 as \\xff; --raw writes the bytes there, too."""

MIN = Option(
    "--min", "POSITION", "Wait until the daemon has seen this position", readers.whole_position
)  # fmt: skip
PATTERN = """\
A <PATTERN> is a key, or a prefix and one '*', for every key that begins with it.
Quote it: a shell puts the names of files in the place of a '*'."""
