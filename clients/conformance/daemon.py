"""The daemon that the vectors are played on: one that is there, or one that is started for as long as they take."""

import asyncio
import contextlib
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator

STARTING = 30.0  # seconds for a daemon to say where it listens


class NoDaemon(Exception):
    """There is none; the text says what to do."""


@contextlib.asynccontextmanager
async def daemon_at(address: str | None, program: str | None) -> AsyncIterator[str]:
    """The address of a daemon."""
    if address:
        yield address
        return
    command = _command(program)
    with tempfile.TemporaryDirectory(prefix="kvd-conformance-") as data:
        options = ["--listen", "127.0.0.1:0", "--data", data, "--fsync", "no"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, *options, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        try:
            yield await asyncio.wait_for(_listening(process), STARTING)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.communicate()


def _command(program: str | None) -> list[str]:
    found = shutil.which(program or "kvd")
    if found:
        return [found]
    if program is None:
        with contextlib.suppress(ImportError):
            import kvd  # noqa: F401 - it is asked for only here

            return [sys.executable, "-m", "kvd"]
    raise NoDaemon(
        f"{program or 'kvd'} is not installed: name it with --kvd PROGRAM, or name a daemon on a new, empty store with "
        "--address HOST:PORT, or leave out what needs one with --no-vectors"
    )


async def _listening(process: asyncio.subprocess.Process) -> str:
    said = []
    while process.stdout and (text := (await process.stdout.readline()).decode()):
        said.append(text)
        if match := re.search(r"listens on (\S+:\d+)", text):
            return match[1]
    raise NoDaemon(f"kvd did not start: {''.join(said).strip() or 'it said nothing'}")
