"""The command line, taken apart into a command, its words and its options."""

from collections import deque

from docopt import DocoptExit, docopt

from kvd.cli import readers
from kvd.cli.command import SETTINGS, Arguments, Command
from kvd.cli.commands import COMMANDS, find_option
from kvd.cli.contexts import given as settings
from kvd.cli.status import USAGE, Failure
from kvd.cli.usage import page, wrong_arguments
from kvd.client import DEFAULT_ADDRESS

HELP = frozenset(("-h", "--help"))
VERSION = "--version"


def arrange(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the options, such as --ttl=5, from the words; docopt then takes any word as it is."""
    options: list[str] = []
    words: list[str] = []
    rest = deque(argv)
    while rest:
        word = rest.popleft()
        if word == "--":
            _check_place(words, options)
            words += rest
            break
        if _is_word(word) or (_is_verbatim(words) and not _is_instead(words, word, rest)):
            words.append(word)
            continue
        options.append(_complete(word, rest, words))
    return options, words


def _check_place(words: list[str], options: list[str]) -> None:
    """Where a command's words are parted by -- from those of another program, they stand before it, and no others."""
    command = COMMANDS.get(words[0]) if words else None
    if command and command.before and len(words) != 1 + len(command.before):
        raise wrong_arguments(command, [option.partition("=")[0] for option in options], words[1:])


def _complete(option: str, rest: deque[str], words: list[str]) -> str:
    """Give an option with its argument, which may stand next; raise Failure."""
    name, given, _ = option.partition("=")
    argument = _argument_of(name, words)
    if given and not argument:
        raise Failure(USAGE, f"invalid option {option!a}: expected {name} without an argument; see kvctl --help")
    if given or not argument:
        return option
    if not rest:
        raise Failure(USAGE, f"incomplete option {name}: expected {name}={argument}; see kvctl --help")
    return f"{name}={rest.popleft()}"


def _argument_of(name: str, words: list[str]) -> str:
    """What the argument of an option is called, "" for one without; raise Failure."""
    if name in HELP or name == VERSION:
        return ""
    found = find_option(name, COMMANDS.get(words[0]) if words else None)
    if not found:
        raise Failure(USAGE, f"unknown option {name!a}; see kvctl --help")
    return found.argument


def parse(command: Command, options: list[str], words: list[str]) -> Arguments:
    """Check the options and words, with docopt, and read each as what it stands for."""
    try:
        given = docopt(page(command), [*options, *words], options_first=True)
    except DocoptExit:
        raise wrong_arguments(command, [option.partition("=")[0] for option in options], words[1:]) from None
    own = {option.name: option.read for option in (*command.options, *command.common)}
    known = readers.WORDS | dict(command.reads) | own
    args = {name: _read(known[name], name.strip("<>"), word) for name, word in given.items() if name in known}
    if not command.is_local:
        _add_settings(args)
    return args


def _add_settings(args: Arguments) -> None:
    """Fill in what the environment and a context say."""
    given = settings({name: bool(option.argument) for name, option in SETTINGS.items()}, args["--context"])
    for name, (source, value) in given.items():
        if name in args and (args[name] is None or args[name] is False):
            args[name] = SETTINGS[name].read(source, value)
    if "--addr" in args:
        args["--addr"] = args["--addr"] or (DEFAULT_ADDRESS,)


def _is_word(word: str) -> bool:
    return not word.startswith("-") or word == "-" or word[1].isdecimal()


def _is_verbatim(words: list[str]) -> bool:
    """Whether what comes after these words is taken as it is."""
    return bool(words) and words[0] in COMMANDS and len(words) == COMMANDS[words[0]].verbatim


def _is_instead(words: list[str], word: str, rest: deque[str]) -> bool:
    """Whether an option with its argument stands where the word is that is taken as it is."""
    return word == COMMANDS[words[0]].instead and bool(rest) and _is_word(rest[0])


def _read(reader: readers.Reader, name: str, given: object) -> object:
    if isinstance(given, list):
        return [reader(name, word) for word in given]
    return None if given is None else reader(name, given)
