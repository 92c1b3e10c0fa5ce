"""The command `kvd`."""

import gc
import os
import signal
import sys

if __name__ == "__main__" or os.path.basename(sys.argv[0]) == "kvd":  # noqa: PTH119  # nothing else is loaded yet
    # What is loaded stays: to look again and again what of it is garbage takes time.
    gc.disable()
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        # Ctrl-C while the rest is loaded ends it as any other signal does, without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

import re
import shlex
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NoReturn

from docopt import DocoptExit, docopt

from kvd import __version__, reloadable, settings
from kvd.addresses import Address, AnyAddress, UnixAddress
from kvd.credentials import masked
from kvd.daemon import Daemon
from kvd.embedded import engines
from kvd.errors import StartError, Superseded
from kvd.options import Option
from kvd.process import limits, machine, service

EXIT_FAILED = 1
EXIT_USAGE = 2

_HELP = """\
kvd: a key-value daemon that any program with a socket can read, write and watch.

Usage:
  kvd [options] {repeated}
  kvd --help

Commands, each with a --help of its own:
  kvd restore FILE --data DIR    Make a data directory of a backup (kvctl backup).
  kvd check --data DIR           See whether the data are whole; with --repair mend them.

Options:
{options}
  --version              Print the version, and the engine's.
  --help                 Print this.

A SIZE is a number of bytes, or a number with KiB, MiB or GiB, such as 64KiB; SECONDS are whole or have up to three
digits after the point, such as 60 or 0.5.

Every option may also stand in the environment, as KVD_ and its name in capitals, such as KVD_MAX_VALUE=64KiB; what
may be given several times stands there with spaces between.  The command line is stronger than the environment, and
that than the file of --config.
"""
_MARGIN = 25
"""Columns before what an option is for, and
_WIDTH: of a line."""
_WIDTH = 119

_OPTION = re.compile(r"--[A-Za-z-]+=?|-\w").match
"""An option's name, without a value that is written after it."""


def _described(option: Option) -> str:
    """Its lines of the help.  None may begin with "-" but the first, or docopt takes it for another option."""
    name = f"  {option.name} {option.argument}".rstrip() + "  "
    return textwrap.fill(
        f"{option.help} (default: {option.default}).",
        _WIDTH,
        initial_indent=f"{name:{_MARGIN}}",
        subsequent_indent=" " * _MARGIN,
        break_on_hyphens=False,
    )


def help_page(options: Sequence[Option] = settings.OPTIONS) -> str:
    """What `kvd --help` prints, and docopt reads."""
    return _HELP.format(
        repeated=" ".join(f"[{option.name} {option.argument}]..." for option in options if option.several),
        options="\n".join(map(_described, options)),
    )


def meant(given: Sequence[str]) -> list[Option]:
    """The options that words may name, in full or not, and all for --help: docopt compares each with each."""
    names = tuple(word.partition("=")[0] for word in given if word.startswith("-"))
    is_help = any("--help".startswith(name) or not name.startswith("--") for name in names)
    return [option for option in settings.OPTIONS if is_help or any(map(option.name.startswith, names))]


def _greet(daemon: Daemon) -> None:
    """Say on standard output where things are, and what to try."""
    where = ", ".join(map(str, daemon.addresses))
    if sys.stdout is None:  # the shell's >&-
        return
    # To be served matters more than to be told so, should the text find no place.
    with suppress(OSError):
        sys.stdout.write(
            f"kvd {__version__} ({daemon.engine}) listens on {where}\n"
            f"{_pages(daemon.http_addresses)}"
            f"data: {daemon.kept}\n"
            f"try:  printf 'SET greeting hello\\nGET greeting\\nQUIT\\n' | {_dialing(daemon.addresses)}\n"
        )
        sys.stdout.flush()


def _pages(addresses: Sequence[AnyAddress]) -> str:
    """Where a browser finds the live page, in a line; "" for nowhere."""
    shown = [
        f"http{'s' * address.tls}://{_reachable(address)}/" if isinstance(address, Address) else f"{address}"
        for address in addresses
    ]
    return f"http: {', '.join(shown)}\n" if shown else ""


def _reachable(address: Address) -> Address:
    """Where this machine reaches an address that stands for all of its own."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    return Address(host, address.port)


def _dialing(addresses: Sequence[AnyAddress]) -> str:
    """A command that connects, without TLS if that can be."""
    address = min(addresses, key=lambda one: isinstance(one, Address) and one.tls)
    if isinstance(address, UnixAddress):
        return f"nc -U {shlex.quote(address.path)}"
    host, port, _ = reached = _reachable(address)
    if address.tls:
        return f"openssl s_client -quiet -connect {reached}"
    return f"nc {host} {port}"


def _shown(words: Sequence[str]) -> str:
    """What was given, without what may be a password: the values of options, and all values if there is a URL."""
    secret = any("@" in word or "://" in word for word in words)
    shown = []
    for before, word in pairwise(["", *words]):
        option = _OPTION(word)
        if option:
            shown.append(option[0] if option[0] == word else f"{option[0]}...")
        else:
            shown.append("..." if secret or _OPTION(before) else word)
    return " ".join(shown)


def _advice(words: Sequence[str]) -> str:
    """What may have been meant by words that are not understood, "" where nothing is near."""
    if words and not words[0].startswith("-"):
        return "there are kvd restore and kvd check, and without a command kvd serves; "
    import difflib  # no daemon needs it

    names = [option.name for option in settings.OPTIONS]
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and not any(known.startswith(name) for known in names):
            return "".join(f"did you mean {near}? " for near in difflib.get_close_matches(name, names, 1, 0.7))
    return ""


def _end_output(shown: BaseException) -> int:
    """See that what was printed is written; the exit status."""
    if sys.stdout is None:  # the shell's >&-
        return 0
    try:
        if isinstance(shown, OSError):
            raise shown
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # who reads has seen enough
        status = 0
    except OSError as error:
        sys.stderr.write(f"kvd: cannot write the output ({error.strerror})\n")
        status = EXIT_FAILED
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's own last flush
    return status


def _print_version(chosen: settings.Settings) -> int:
    """Raises StartError if there is no such engine; the exit status."""
    engine = engines.choose(chosen.engine)
    try:
        if sys.stdout is not None:
            sys.stdout.write(f"kvd {__version__} ({engine}: {engine.binary})\n")
    except OSError as error:
        return _end_output(error)
    return _end_output(SystemExit())


def _keep(run: Callable[[], int]) -> int:
    """Run a command that serves nobody; its exit status."""
    try:
        return run()
    except (SystemExit, OSError) as shown:  # --help
        return _end_output(shown)
    except StartError as error:
        sys.stderr.write(f"kvd: {masked(str(error))}\n")
        return EXIT_FAILED


def main(arguments: list[str] | None = None) -> int:
    """The command `kvd`; returns its exit status."""
    service.open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    if given and not given[0].startswith("-"):
        from kvd.keeping import commands

        if given[0] in commands.COMMANDS:
            return _keep(lambda: commands.run(given))
    try:
        options = docopt(help_page(meant(given)), given)
    except DocoptExit:
        words = _shown(given)
        sys.stderr.write(
            f"kvd: unknown, repeated or incomplete option: {words!a}; {_advice(given)}kvd --help lists the options\n"
        )
        return EXIT_USAGE
    except (SystemExit, OSError) as shown:  # --help
        return _end_output(shown)
    try:
        chosen = settings.read(options, os.environ, machine.available())
        if options["--version"]:
            return _print_version(chosen)
        service.log_to_stderr(chosen.log_level, chosen.log_format, of_many=chosen.workers > 1)
        limits.raise_limit()
        limits.check()
        daemon = Daemon(chosen)
        reload = daemon.reload if reloadable.is_any(chosen) else None
        service.run(daemon, lambda: _greet(daemon), service.ENDING, reload)
    except (StartError, Superseded) as error:
        sys.stderr.write(f"kvd: {masked(str(error))}\n")
        return EXIT_FAILED
    return 0


def command() -> NoReturn:
    """The program `kvd`."""
    gc.freeze()
    gc.enable()
    service.leave(main())


if __name__ == "__main__":
    command()
