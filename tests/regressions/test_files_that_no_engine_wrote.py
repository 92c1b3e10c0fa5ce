"""Damage that neither an engine nor its checker understands is one line; a damaged note of kvd's own is none at all.

Seen with kvd: an engine that crashes over a length, or whose checker takes for whole what it does not read, was quoted
instead of what to do; a manifest that had lost a line was believed, and the part that it named begun anew.
"""

from collections.abc import Callable
from zlib import crc32

import pytest

from kvd.embedded.aof import AppendOnlyFile
from tests.support.daemons import fill, one_line_error, run_kvd
from tests.support.processes import Daemon, StartDaemon, needs

DEEP = "[" * 100_000
"""Deeper than what is read into Python's objects may be."""


@pytest.mark.parametrize("rest", [b"*-1\r\n", b"*1\r\n$99999999999\r\nHS"])
def test_a_length_that_is_none(daemon: Daemon, rest: bytes) -> None:
    fill(daemon, 5)
    daemon.crash()
    file = daemon.append_only_file
    file.write_bytes(file.read_bytes() + rest)
    message = one_line_error(run_kvd("--data", str(daemon.data)))
    assert f"{file} is damaged, and not as a crash leaves it" in message
    assert "restore a backup" in message


@pytest.mark.parametrize(("name", "text"), [("life", DEEP), ("sums", f"{crc32(DEEP.encode()):08x} {DEEP}")])
def test_a_note_that_is_no_note(daemon: Daemon, name: str, text: str) -> None:
    fill(daemon, 5)
    daemon.crash()
    (daemon.data / name).write_text(text)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"


WRONG: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "the base is gone": (lambda lines: lines[1:], "is empty or damaged"),
    "what was appended is gone": (lambda lines: [lines[0], ""], "does not list"),
    "another order": (lambda lines: [lines[1], lines[0], ""], "is empty or damaged"),
    "each twice": (lambda lines: lines[:-1] + lines, "is empty or damaged"),
    "its last line has no end": (lambda lines: lines[:-1], "is empty or damaged"),
    "no number": (lambda lines: [line.replace("seq 1", "seq 0") for line in lines], "is empty or damaged"),
}


@pytest.mark.parametrize(("change", "why"), WRONG.values(), ids=WRONG)
def test_a_manifest_of_other_parts(
    start_daemon: StartDaemon, change: Callable[[list[str]], list[str]], why: str
) -> None:
    needs("redis-server")
    daemon = start_daemon("--engine", "redis-server")
    fill(daemon, 5)
    daemon.crash()
    manifest = AppendOnlyFile(daemon.data).manifest
    whole = manifest.read_text()
    manifest.write_text("\n".join(change(whole.split("\n"))))
    message = one_line_error(run_kvd("--data", str(daemon.data), "--engine", "redis-server"))
    assert f"{manifest} {why}" in message
    manifest.write_text(whole)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"
