"""The scripts that run inside Redis, as they are sent: the prelude, then lua/NAME.lua."""

import hashlib
from pathlib import Path

_DIRECTORY = Path(__file__).parents[2] / "lua"
_PRELUDE = _DIRECTORY / "prelude.lua"

SCRIPTS: dict[str, bytes] = {
    path.stem: _PRELUDE.read_bytes() + path.read_bytes()
    for path in sorted(_DIRECTORY.glob("*.lua"))
    if path != _PRELUDE
}
# EVALSHA names scripts by SHA-1; nothing secret hangs on it.
SHAS = {name: hashlib.sha1(source, usedforsecurity=False).hexdigest() for name, source in SCRIPTS.items()}
