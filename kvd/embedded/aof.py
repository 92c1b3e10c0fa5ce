"""A damaged append-only file: what a crash leaves is cut off and kept; anything else is for a person.

Redis's own repair (`aof-load-truncated yes`) cuts at the first place that looks like an end, even if that is in
the middle: a changed length loses all that stands behind it.  And Redis 6.2 cuts inside of a transaction, so that all
that is written later stands in one that never ends.  So its checker is asked where the last whole one ends.
"""

import logging
import os
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kvd.errors import StartError

log = logging.getLogger("kvd.embedded")

TAIL_BYTES = 4 * 1024 * 1024
"""How much of the file's end may be incomplete and still be what a crash left of the last batches: some times what an
ordinary one writes, and
TAIL_VALUES: so many of the longest values."""
TAIL_VALUES = 3


def explain(binary: Path, file: Path) -> str:
    """What is wrong with a file that is damaged in the middle, and what to do, in one line."""
    return (
        f"{file} is damaged in the middle; restore a copy of it, or keep what stands before the damage: "
        f"cp '{file}' '{file}.damaged' && bash -c 'exec -a redis-check-aof \"{binary}\" --fix \"{file}\"'"
    )


def cut_tail(binary: Path, file: Path, said: Sequence[str], max_value: int) -> None:
    """Make sure that only the end of the file is incomplete, and cut it off; it is kept beside the file.

    said: the log of the server that refused the file.  max_value: int, bytes of the longest value.  Raises StartError
    if it is damaged otherwise.
    """
    cut = _incomplete_bytes(binary, file) if any("Unexpected end of file" in line for line in said) else None
    if cut is None or cut > max(TAIL_BYTES, TAIL_VALUES * max_value):
        raise StartError(explain(binary, file))
    keep = file.with_name(f"{file.name}.cut-{int(time.time())}")
    # It is kept for a person to look at; a full disk must not keep the daemon from starting.
    with suppress(OSError), file.open("rb") as whole:
        whole.seek(-cut, os.SEEK_END)
        keep.write_bytes(whole.read())
    with file.open("rb+") as whole:
        whole.truncate(whole.seek(0, os.SEEK_END) - cut)
        os.fsync(whole.fileno())
    log.warning(
        "the end of %s was incomplete, as a crash of the machine leaves it; "
        "its last %d bytes, a write that nobody was told is done, were moved to %s",
        file, cut, keep.name,
    )  # fmt: skip


def _incomplete_bytes(binary: Path, file: Path) -> int | None:
    """How many bytes at the end are no whole command; None if the checker does not say.

    The server's binary is also redis-check-aof, when it is called by that name.
    """
    checked = subprocess.run(  # noqa: S603
        ["redis-check-aof", str(file)],  # noqa: S607
        executable=binary, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    found = re.search(r"diff=(\d+)", checked.stdout)
    return int(found[1]) if found else None
