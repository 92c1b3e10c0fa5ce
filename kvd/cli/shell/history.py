"""What was typed, in a file that only its owner reads."""

import os
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from kvd.cli.output import say
from kvd.cli.shell.memory import verb_of

LARGEST = 1 << 20
"""Bytes of the file; of more the newer half is kept."""


def state_directory() -> Path:
    """Where programs keep what they remember, by the XDG specification."""
    named = os.environ.get("XDG_STATE_HOME", "")
    return Path(named if named.startswith("/") else Path.home() / ".local/state", "kvd")


class TypedHistory(FileHistory):
    """Without passwords, and without what begins with a space, as in shells."""

    def store_string(self, string: str) -> None:
        """Keep what was typed, unless it is secret."""
        is_secret = any(verb_of(line.encode(errors="replace")) == b"AUTH" for line in string.splitlines())
        if not is_secret and not string.startswith(" "):
            try:
                super().store_string(string)
            except (OSError, UnicodeError) as error:
                say(f"cannot keep the history ({error})")


def history() -> History:
    """The history; where it cannot be kept, of this run alone, and it is said."""
    try:
        path = state_directory() / "shell-history"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            _cut(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        say(f"the history is not kept ({error})")
        return InMemoryHistory()
    return TypedHistory(str(path))


def _cut(descriptor: int) -> None:
    """Drop the older half of a file that is too long."""
    size = os.fstat(descriptor).st_size
    if size <= LARGEST:
        return
    rest = os.pread(descriptor, LARGEST // 2, size - LARGEST // 2)
    begin = rest.find(b"\n#") + 1
    kept = rest[begin:] if begin else b""
    os.pwrite(descriptor, kept, 0)
    os.ftruncate(descriptor, len(kept))
