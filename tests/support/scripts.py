"""The scripts that run inside Redis, as files."""

import re
from pathlib import Path

from kvd.store.redis import scripts

LUA = Path(scripts.__file__).parents[2] / "lua"


def header(source: str) -> dict[str, str]:
    """The parts of the comment at the head of a script, by their names."""
    lines = source.splitlines()
    head = [line.removeprefix("--").strip() for line in lines[: next(i for i, s in enumerate(lines) if s[:2] != "--")]]
    parts = re.split(r"\b(KEYS|ARGV|RETURNS): ", " ".join(head))
    return {"what": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))
