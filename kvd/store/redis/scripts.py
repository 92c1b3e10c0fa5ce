"""The scripts that run inside Redis, as they are sent: layout, prelude, the parts that a script names, itself."""

import hashlib
import re
from pathlib import Path

LAYOUT = "5"
"""Version of how kvd lays out its data in Redis (docs/layout.md).  Every script is made for it, and refuses another;
attach.lua takes over those before it."""
REFUSED = "LAYOUT"
"""First word of every script's error for a store of another layout."""

_DIRECTORY = Path(__file__).parents[2] / "lua"
_PARTS = re.compile(r"^-- PARTS: (.+)$", re.MULTILINE)
_KEYS = re.compile(r"^-- KEYS: ", re.MULTILINE)


def _joined(source: str) -> bytes:
    parts = _PARTS.search(source)
    names = ["prelude", *(parts[1].split() if parts else [])]
    before = [(_DIRECTORY / f"{name}.lua").read_text() for name in names]
    return "".join([f"local LAYOUT = '{LAYOUT}'\n", *before, source]).encode()


_SOURCES = {path.stem: path.read_text() for path in sorted(_DIRECTORY.glob("*.lua"))}
# A part has no keys of its own.
SCRIPTS: dict[str, bytes] = {name: _joined(source) for name, source in _SOURCES.items() if _KEYS.search(source)}
# EVALSHA names scripts by SHA-1; nothing secret hangs on it.
SHAS = {name: hashlib.sha1(source, usedforsecurity=False).hexdigest() for name, source in SCRIPTS.items()}
