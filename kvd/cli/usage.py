"""What kvctl can be told to do: the page that docopt reads."""

import re

from kvd.cli.status import USAGE, Failure

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
Quote it: a shell puts the names of files in the place of a '*'.

The word after set <KEY> is the value, even if it begins with -: options stand
before the key or after the value.  The value - is what comes from standard
input, every byte of it; what is longer than the daemon takes is not read to its
end.  The word -- ends the options.

get writes the value's bytes and nothing else; on a terminal, also a line's end.
On a terminal what would act on it, control characters and those that change the
direction of text or are not seen, is shown as \\x1b or \\u202e, and a byte that is
not UTF-8 as \\xff; --raw writes the bytes there, too.

set and del print the revision that the change took.  list prints lines PAIR REV
KEY VALUE; watch prints POSITION SET KEY VALUE, POSITION DEL KEY and POSITION
EXPIRE KEY.  There a value that is not one line of text is in base64, and the
word before it is PAIR64 or SET64.

Options:
  --addr=ADDR    The daemon, as HOST:PORT, HOST or [IPV6]:PORT; without it the
                 variable KVCTL_ADDR, or else 127.0.0.1:5830
  --timeout=SECONDS
                 Give the daemon up when it is silent for so long (unless given, 30,
                 and 5 while connecting); 0: never
  --json         Print one JSON object a line; a value that is not UTF-8 has the
                 name "base64" instead of "value"
  --raw          Escape nothing on a terminal: every byte as it is stored
  --ttl=SECONDS  Let the key expire after so many seconds, such as 600 or 0.5
  --if=REV       Only if the key has this revision; 0: if there is no such key
  --after=KEY    Begin after this key
  --limit=N      End after so many keys
  -h, --help     Print this
  --version      Print the version

Exit status:
  0  done
  1  no such key, or --if does not hold
  2  wrong words: an option, an argument, a key or a value that cannot be
  3  the daemon cannot be reached, was lost or silent while it was asked to read,
     has ended the watch, or is none: its replies make no sense
  4  refused for good: the same again would be refused again
  5  the output could not be written
  6  not done, for the daemon cannot do it now: try again
  7  perhaps done: the daemon, or its store, was lost or silent during a write
Of several keys the most serious counts: 7, 3, 4, 2, 6, 1.
"""

OPTIONS = dict(re.findall(r"^  (?:-h, )?(--[a-z]+)(=[A-Z]+)?", HELP, re.MULTILINE)) | {"-h": ""}
"""Every option; its argument's name after a "=", "" for one without."""


def wrong_usage(words: list[str]) -> Failure:
    usages = re.findall(r"^  kvctl .*$", HELP, re.MULTILINE)
    known = [usage for usage in usages if usage.split()[2] in words[:1]]
    text = "no command"
    if words:
        text = f"wrong arguments for {words[0]}" if known else f"no such command: {words[0]!a}"
    if "[<PATTERN>]" in "".join(known) and len(words) > 2:
        text += ": one pattern, quoted if it has a '*', or the shell puts names of files in its place"
    return Failure(USAGE, f"{text}; see kvctl --help", usage=known or usages)
