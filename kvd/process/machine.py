"""How much memory this process and its children may take, and take: the machine's, its cgroups', its own limits.

A limit of a control group counts for all processes in it and in those below it, so each group on the way up from this
process's is asked.  Both versions may be in use at once; /proc/self/mountinfo says where their files are.
"""

import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kvd.memory import Available

PROC = Path("/proc")
_FILES = {"cgroup": ("memory.limit_in_bytes",), "cgroup2": ("memory.max", "memory.high")}
"""Files that hold a limit, by the file system's type.  Above memory.high nothing is killed, but all comes to a stop."""
_RLIMITS = {"RLIMIT_DATA": resource.RLIMIT_DATA, "RLIMIT_AS": resource.RLIMIT_AS}
_TOTAL = re.compile(r"^MemTotal:\s+(\d+) kB$", re.MULTILINE)


class _Mount(NamedTuple):
    """A mounted hierarchy.  root: the group that its top directory is."""

    kind: str
    root: PurePosixPath
    point: Path
    options: list[str]


def available(proc: Path = PROC) -> Available:
    """The least of all limits.  proc: where /proc is."""
    found = [*_of_machine(proc), *_of_groups(proc), *_of_process()]
    return min(found, default=Available())


def resident(process: int | str = "self") -> int:
    """Bytes of a process that are in memory; 0 if it is gone, or the system does not say."""
    pages = _read(PROC / f"{process}" / "statm").split()
    return int(pages[1]) * resource.getpagesize() if pages else 0


def _of_machine(proc: Path) -> Iterator[Available]:
    total = _TOTAL.search(_read(proc / "meminfo"))
    if total:
        yield Available(int(total[1]) * 1024, "the machine")
    with suppress(ValueError, OSError):
        yield Available(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "the machine")


def _of_process() -> Iterator[Available]:
    for name, number in _RLIMITS.items():
        soft, _ = resource.getrlimit(number)
        if soft != resource.RLIM_INFINITY:
            yield Available(soft, name, each=True)


def _of_groups(proc: Path) -> Iterator[Available]:
    mounts = list(_mounts(_read(proc / "self" / "mountinfo")))
    for line in _read(proc / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        kind = "cgroup2" if number == "0" and not controllers else "cgroup"
        if kind == "cgroup" and "memory" not in controllers.split(","):
            continue
        for mount in mounts:
            if mount.kind == kind and (kind == "cgroup2" or "memory" in mount.options):
                yield from _upwards(mount, PurePosixPath(path))


def _upwards(mount: _Mount, group: PurePosixPath) -> Iterator[Available]:
    """The limits of a group and of those above it, as far as they can be seen."""
    try:
        inside = group.relative_to(mount.root)
    except ValueError:  # seen from within another namespace: what is mounted is this one, or above it
        inside = PurePosixPath()
    for directory in (mount.point / inside, *list((mount.point / inside).parents)[: len(inside.parts)]):
        for name in _FILES[mount.kind]:
            text = _read(directory / name).strip()
            if text.isdigit():
                yield Available(int(text), f"{name} of its control group")


def _mounts(text: str) -> Iterator[_Mount]:
    """Those of control groups, from lines such as `32 31 0:29 /root /point rw shared:1 - cgroup name rw,memory`."""
    for line in text.splitlines():
        place, _, system = line.partition(" - ")
        words, described = place.split(" "), system.split(" ")
        if len(words) > 4 and len(described) > 2 and described[0] in _FILES:
            root, point = map(_plain, words[3:5])
            yield _Mount(described[0], PurePosixPath(root), Path(point), described[2].split(","))


def _plain(escaped: str) -> str:
    r"""A path of mountinfo, where a space is \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)


def _read(path: Path) -> str:
    """A file's text, "" if there is none, or it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
