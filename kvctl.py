#!/usr/bin/env python3
"""The command line of kvd's clients; everything it knows of the wire is in kvd.client."""

import asyncio
import base64
import fcntl
import json
import math
import os
import re
import stat
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from docopt import DocoptExit, docopt

from kvd import __version__
from kvd.client import (
    DEFAULT_ADDRESS,
    BadAddress,
    Client,
    Conflict,
    Unreachable,
    Watch,
    WatchEnded,
    connect,
    is_text,
)
from kvd.errors import ConnectionLost, Refusal

HELP = """\
kvctl: read, write and watch the keys of kvd

Usage:
  kvctl [options] get <KEY>
  kvctl [options] set <KEY> <VALUE> [--ttl=SECONDS] [--if=REV]
  kvctl [options] del <KEY>... [--if=REV]
  kvctl [options] watch [<PATTERN>...]
  kvctl [options] keys [<PATTERN>] [--after=KEY] [--limit=N]
  kvctl [options] list [<PATTERN>] [--after=KEY] [--limit=N]
  kvctl [options] count [<PATTERN>]
  kvctl [options] ttl <KEY>
  kvctl [options] touch <KEY> <SECONDS>
  kvctl [options] incr <KEY> [<N>]
  kvctl [options] info
  kvctl [options] ping
  kvctl (--help | --version)

Commands:
  get     Use get <KEY> to fetch the value of that key from kv store
  set     Use set <KEY> <VALUE> to create/update the key with given value in kv store
  del     Use del <KEY>... to delete these keys from kv store
  watch   Use watch to watch updates to any keys in kv store
  keys    Use keys to list the keys in kv store
  list    Use list to list the keys in kv store with their values
  count   Use count to count the keys in kv store
  ttl     Use ttl <KEY> to see in how many seconds that key expires (-: never)
  touch   Use touch <KEY> <SECONDS> to let that key expire then (-: never)
  incr    Use incr <KEY> [<N>] to add N, 1 unless given, to the number that key holds
  info    Use info to see what the daemon says of itself
  ping    Use ping to see whether the daemon answers

A <PATTERN> is a key, or a prefix and one '*', for every key that begins with it.

The word after set <KEY> is the value, even if it begins with -: options stand
before the key or behind the value.  The value - is what comes from standard
input, every byte of it.  The word -- ends the options.

get writes the value's bytes and nothing else; to a terminal, also a line's end.
set and del print the revision that the change took.  list prints lines PAIR REV
KEY VALUE; watch prints POSITION SET KEY VALUE, POSITION DEL KEY and POSITION
EXPIRE KEY.  There a value that is not one line of text is in base64, and the
word before it is PAIR64 or SET64.

Options:
  --addr=ADDR    The daemon, as HOST:PORT, HOST or [IPV6]:PORT; without it the
                 variable KVCTL_ADDR, or else 127.0.0.1:5830
  --json         Print one JSON object a line; a value that is not UTF-8 has the
                 name "base64" instead of "value"
  --ttl=SECONDS  Let the key expire after so many seconds
  --if=REV       Only if the key has this revision; 0: if there is no such key
  --after=KEY    Begin behind this key
  --limit=N      End after so many keys
  -h, --help     Print this
  --version      Print the version

Exit status:
  0  done
  1  no such key, or --if does not hold
  2  wrong usage
  3  the daemon cannot be reached, is lost, or has ended the watch
  4  the daemon refused
  5  the output could not be written
"""

DONE, ABSENT, USAGE, LOST, REFUSED, UNWRITTEN, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

OPTIONS = dict(re.findall(r"^  (?:-h, )?(--[a-z]+)(=[A-Z]+)?", HELP, re.MULTILINE)) | {"-h": ""}
"""Every option; its argument's name after a "=", "" for one without."""

Arguments = dict[str, Any]


class Failure(Exception):
    """Ends the program: one line for a person, and the exit status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Output:
    """Standard output, as text lines or as JSON lines; always UTF-8, whatever the locale."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def line(self, text: str, **fields: object) -> None:
        """Write one line: the text, or with --json the fields."""
        self.write((json.dumps(fields) if self.as_json else text).encode() + b"\n")

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def flush(self) -> None:
        sys.stdout.buffer.flush()


async def get(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
    item = await kv.gets(key)
    if item is None:
        raise _absent(key)
    if out.as_json:
        out.line("", key=key, revision=item.revision, **_json_value(item.value))
        return
    out.write(item.value)
    if sys.stdout.isatty() and not item.value.endswith(b"\n"):
        out.write(b"\n")


async def set_(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
    revision = await kv.set(key, args["<VALUE>"], ttl=args["--ttl"], if_revision=args["--if"])
    out.line(f"{revision}", key=key, revision=revision)


async def delete(kv: Client, args: Arguments, out: Output) -> None:
    missing = []
    for key in args["<KEY>"]:
        revision = await kv.delete(key, if_revision=args["--if"])
        if revision is None:
            missing.append(key)
        else:
            out.line(f"{revision}", key=key, revision=revision)
    if missing:
        raise _absent(*missing)


async def keys(kv: Client, args: Arguments, out: Output) -> None:
    async for key in kv.keys(_pattern(args), args["--after"], args["--limit"]):
        out.line(key, key=key)


async def list_(kv: Client, args: Arguments, out: Output) -> None:
    async for key, value, revision in kv.list(_pattern(args), args["--after"], args["--limit"]):
        word, text = _as_on_the_wire("PAIR", value)
        out.line(f"{word} {revision} {key} {text}", key=key, revision=revision, **_json_value(value))


async def count(kv: Client, args: Arguments, out: Output) -> None:
    number = await kv.count(_pattern(args))
    out.line(f"{number}", count=number)


async def ttl(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
    seconds = await kv.ttl(key)
    if seconds is None:
        raise _absent(key)
    if seconds == math.inf:
        out.line("-", key=key, ttl=None)
    else:
        out.line(f"{seconds:.3f}", key=key, ttl=seconds)


async def touch(kv: Client, args: Arguments, out: Output) -> None:
    key, seconds = args["<KEY>"][0], args["<SECONDS>"]
    if not await kv.touch(key, seconds):
        raise _absent(key)
    if out.as_json:
        out.line("", key=key, ttl=seconds)


async def incr(kv: Client, args: Arguments, out: Output) -> None:
    key = args["<KEY>"][0]
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


async def watch(changes: Watch, out: Output) -> None:
    async with changes:
        _end_when_nobody_reads()
        _say(f"watching from {changes.position}")
        async for position, revision, verb, key, value in changes:
            fields: dict[str, Any] = {"position": position, "revision": revision, "verb": verb, "key": key}
            if value is None:
                out.line(f"{position} {verb} {key}", **fields)
            else:
                word, text = _as_on_the_wire(verb, value)
                out.line(f"{position} {word} {key} {text}", **fields, **_json_value(value))
            out.flush()


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


def main() -> int:
    """Run the command line; return the exit status."""
    if sys.stdout is None:  # the shell's >&-
        return _say("standard output is closed", UNWRITTEN)
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who reads has seen enough
        status = DONE
    except OSError as error:
        status = _say(f"cannot write the output ({error.strerror})", UNWRITTEN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's own last flush
    return status


def run(argv: list[str]) -> int:
    """Do what the words ask for; return the exit status.  Raises OSError: the output cannot be written."""
    words: list[str] = []
    try:
        options, words = arrange(argv)
        if "-h" in options or "--help" in options:
            sys.stdout.write(HELP)
        elif "--version" in options:
            sys.stdout.write(f"kvctl {__version__}\n")
        else:
            asyncio.run(perform(parse(options, words)))
        return DONE
    except asyncio.CancelledError:  # nobody reads what watch writes
        return DONE
    except KeyboardInterrupt:  # the way to end a watch
        return DONE if words[:1] == ["watch"] else INTERRUPTED
    except Failure as failure:
        return _say(str(failure), failure.status)
    except BadAddress as error:
        return _say(str(error), USAGE)
    except Conflict as conflict:
        return _say(f"--if does not hold: {conflict}", ABSENT)
    except Unreachable as error:
        return _say(f"{error}: start it with 'kvd', or name another with --addr HOST:PORT", LOST)
    except (ConnectionLost, WatchEnded) as error:
        return _say(str(error), LOST)
    except Refusal as refusal:
        return _say(f"{refusal.word}: {refusal}", REFUSED)


def arrange(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the options, with their arguments, from the words; docopt then takes any word as it is."""
    options: list[str] = []
    words: list[str] = []
    rest = deque(argv)
    while rest:
        word = rest.popleft()
        if word == "--":
            words += rest
            break
        if _is_word(word) or (words[:1] == ["set"] and len(words) == 2):
            words.append(word)
            continue
        options.append(word)
        name, given, _ = word.partition("=")
        if name not in OPTIONS:
            raise Failure(USAGE, f"no such option: {name!a}; see kvctl --help")
        if OPTIONS[name] and not given:
            if not rest:
                raise Failure(USAGE, f"{name} needs its {OPTIONS[name].removeprefix('=')}; see kvctl --help")
            options.append(rest.popleft())
    return options, words


def parse(options: list[str], words: list[str]) -> Arguments:
    """Check the options and words, with docopt, and read each as what it stands for."""
    try:
        given = docopt(HELP, [*options, *words], options_first=True)
    except DocoptExit:
        raise _wrong_usage(words) from None
    args = {name: READERS[name](word) if name in READERS and word is not None else word for name, word in given.items()}
    if args["--if"] and len(args["<KEY>"]) > 1:
        raise Failure(USAGE, "--if goes with one key, for no two keys have the same revision")
    if args["set"]:  # before the event loop runs, where Ctrl-C would not end the reading
        args["<VALUE>"] = _standard_input() if args["<VALUE>"] == "-" else os.fsencode(args["<VALUE>"])
    return args


async def perform(args: Arguments) -> None:
    """Run one command."""
    out = Output(as_json=args["--json"])
    address = args["--addr"] or os.environ.get("KVCTL_ADDR") or DEFAULT_ADDRESS
    if args["watch"]:
        await watch(Watch(address, *args["<PATTERN>"]), out)
    else:
        command = next(command for name, command in COMMANDS.items() if args[name])
        async with await connect(address) as kv:
            await command(kv, args, out)


def _is_word(word: str) -> bool:
    return not word.startswith("-") or word == "-" or word[1].isdecimal()


def _standard_input() -> bytes:
    try:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read()
    except OSError as error:
        raise Failure(USAGE, f"cannot read standard input ({error.strerror})") from None


def _end_when_nobody_reads() -> None:
    """Cancel this task when standard output is a pipe and loses its reader; a write may be long in coming."""
    is_pipe = stat.S_ISFIFO(os.fstat(1).st_mode)
    task = asyncio.current_task()
    if task and is_pipe and fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        asyncio.get_running_loop().add_reader(1, task.cancel)


def _say(text: str, status: int = DONE) -> int:
    if sys.stderr is not None:  # the shell's 2>&-
        sys.stderr.write(f"kvctl: {text}\n")
    return status


def _wrong_usage(words: list[str]) -> Failure:
    usages = re.findall(r"^  kvctl .*$", HELP, re.MULTILINE)
    known = [usage for usage in usages if usage.split()[2] in words[:1]]
    text = "no command"
    if words:
        text = f"wrong arguments for {words[0]}" if known else f"no such command: {words[0]!a}"
    return Failure(USAGE, "\n".join((f"{text}; see kvctl --help", "Usage:", *(known or usages))))


def _absent(*keys: str) -> Failure:
    return Failure(ABSENT, f"no such key: {', '.join(keys)}")


def _as_on_the_wire(word: str, value: bytes) -> tuple[str, str]:
    return (word, value.decode()) if is_text(value) else (f"{word}64", base64.b64encode(value).decode())


def _json_value(value: bytes) -> dict[str, str]:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _pattern(args: Arguments) -> str:
    return args["<PATTERN>"][0] if args["<PATTERN>"] else "*"


def _utf8(word: str) -> str:
    """Read a word as UTF-8, whatever the locale made of it."""
    data = os.fsencode(word)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failure(USAGE, f"a key must be UTF-8, and {data!r} is not") from None


def _words(words: list[str]) -> list[str]:
    return [_utf8(word) for word in words]


def _seconds(word: str) -> float:
    return float(_checked(word, r"[0-9]{1,10}(\.[0-9]{1,3})?", "a number of seconds"))


def _seconds_or_never(word: str) -> float | None:
    return None if word == "-" else _seconds(word)


def _revision(word: str) -> str:
    return _checked(word, "[0-9]{1,16}(@[!-~]+)?", "a revision")


def _limit(word: str) -> int:
    return int(_checked(word, "[1-9][0-9]{0,15}", "a number of keys"))


def _integer(word: str) -> int:
    return int(_checked(word, "[+-]?[0-9]{1,100}", "a whole number"))


def _checked(word: str, pattern: str, meaning: str) -> str:
    if not re.fullmatch(pattern, word):
        raise Failure(USAGE, f"not {meaning}: {word!a}")
    return word


READERS: dict[str, Callable[[Any], Any]] = {
    "<KEY>": _words,
    "<PATTERN>": _words,
    "<SECONDS>": _seconds_or_never,
    "<N>": _integer,
    "--ttl": _seconds,
    "--if": _revision,
    "--after": _utf8,
    "--limit": _limit,
}
"""What makes of a word, or of a list of them, what the commands take."""


if __name__ == "__main__":
    sys.exit(main())
