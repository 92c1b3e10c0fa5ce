"""Real input: Python's Unicode database goes in through netcat, past two watches, and survives kill -9."""

import base64
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, ROOT, Daemon, needs, wait_for

UNNAMEABLE = ("CJK UNIFIED", "HANGUL SYLLABLE")


def pairs() -> list[tuple[str, str]]:
    """Every named character, by its number and by its name."""
    found = []
    for number in range(sys.maxunicode + 1):
        name = unicodedata.name(chr(number), "")
        if name and not name.startswith(UNNAMEABLE):
            found.append((f"U+{number:04X}", name))
            found.append((f"char/{name.replace(' ', '_')}", chr(number)))
    return found


def wire_form(value: str) -> tuple[str, str]:
    """Whether a value travels as text or in base64, and how it looks then."""
    if value in "\u2028\u2029":
        return "64", base64.b64encode(value.encode()).decode()
    return "", value


def request(key: str, value: str) -> str:
    mark, text = wire_form(value)
    return f"PUT {key} base64={len(value.encode())} = {text}\n" if mark else f"SET {key} {text}\n"


def seen_by_watch(lines: list[str], marks: list[str]) -> list[str]:
    """What follows the last mark, without the store's id."""
    last = max(number for number, line in enumerate(lines) if line.endswith(marks[-1]))
    return [line.split("@")[0] + line[line.index(" SET") :] for line in lines[last + 1 :]]


@pytest.mark.slow
def test_the_unicode_database_travels_whole(daemon: Daemon, tmp_path: Path) -> None:
    needs("nc")
    data = pairs()
    assert len(data) > 69_000
    netcat = ["nc", "-N", "127.0.0.1", str(daemon.port)]
    by_nc, by_kvctl = tmp_path / "nc", tmp_path / "kvctl"
    with by_nc.open("wb") as nc_out, by_kvctl.open("wb") as kvctl_out, daemon.connect() as peer:
        watches = [
            subprocess.Popen(netcat, stdin=subprocess.PIPE, stdout=nc_out),
            subprocess.Popen(
                [sys.executable, "kvctl.py", "--addr", daemon.addr, "watch"], cwd=ROOT, stdout=kvctl_out
            ),
        ]  # fmt: skip
        assert watches[0].stdin
        watches[0].stdin.write(b"WATCH\n")
        watches[0].stdin.close()
        marks: list[str] = []

        def both_watch() -> bool:
            marks.append(f"SET mark {len(marks)}")
            assert peer.ask(marks[-1]).startswith("OK")
            return all(marks[0].rpartition(" ")[0].encode() in path.read_bytes() for path in (by_nc, by_kvctl))

        wait_for("both watches", both_watch)
        first = len(marks) + 1
        (tmp_path / "input").write_text("".join(request(*pair) for pair in data), newline="")
        with (tmp_path / "input").open() as source:
            loaded = subprocess.run(netcat, stdin=source, capture_output=True, timeout=PATIENCE * 3, check=True)
        assert loaded.stdout.decode().splitlines() == [f"OK {first + number}" for number in range(len(data))]
        assert peer.ask("COUNT U+*") == peer.ask("COUNT char/*") == f"OK {len(data) // 2}"

        wanted = []
        for number, (key, value) in enumerate(data):
            mark, text = wire_form(value)
            wanted.append(f"{first + number} SET{mark} {key} {text}")
        # Not as text: what is there so far may end amid a character.  A line of it is whole with its end.
        ending = re.compile(rb"\b%d@.*\n" % (first + len(data) - 1)).search
        wait_for("both watches to see all", lambda: all(ending(path.read_bytes()) for path in (by_nc, by_kvctl)))
        daemon.kill()
        daemon.wait()
        # nc ends with the daemon, and kvctl waits for the next one.
        watches[1].terminate()
        for watch in watches:
            watch.wait(PATIENCE)
    nc_lines = [line.removeprefix("CHANGE ") for line in by_nc.read_bytes().decode().split("\n") if line]
    assert seen_by_watch(nc_lines, marks) == wanted
    assert seen_by_watch([line for line in by_kvctl.read_bytes().decode().split("\n") if line], marks) == wanted

    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT U+*") == peer.ask("COUNT char/*") == f"OK {len(data) // 2}"
        for start in range(0, len(data), 1000):
            part = data[start : start + 1000]
            peer.send("".join(f"GET {key}\n" for key, _ in part))
            forms = [wire_form(value) for _, value in part]
            assert peer.lines(len(part)) == [f"OK{mark} {text}" for mark, text in forms]
