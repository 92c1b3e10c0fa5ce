"""The kit catches faults that are planted in the clients of languages that are compiled, as in the reference client."""

import shutil
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certifying import certify, wrong
from tests.support.languages import CLIENTS, JAVA, command_of
from tests.support.processes import needs

COMPILERS = {
    "c": ("gcc", "gcc -w -o adapter adapter.c", ["adapter"]),
    "go": ("go", "go build -o certified ./adapter", ["certified"]),
    "java": ("javac", "javac -J-XX:TieredStopAtLevel=1 -J-XX:+UseSerialGC Adapter.java", [*JAVA, "Adapter"]),
}
"""For each language the compiler, how the adapter is built, and its command."""


class Fault(NamedTuple):
    """old: a piece of a client's file that is there once; new: what stands there instead; caught: rules."""

    file: str
    old: str
    new: str
    caught: tuple[str, ...]


FAULTS = {
    "c: takes base64 for the value": Fault(
        "c/kvd_connection.h", 'if (!strstr(word, "64")) return;', "return;",
        ("replies/pieces", "replies/any-bytes", "follow/position", "follow/copy"),
    ),
    "c: tells a change twice": Fault(
        "c/kvd.h", "atoll(position) > atoll(k->position)", "atoll(position) >= atoll(k->position)",
        ("follow/repeated-change", "follow/cr-lf"),
    ),
    "c: never connects again": Fault(
        "c/kvd.h", "        kvd_rest(k);\n", "        return -1;\n",
        ("follow/cut-line", "follow/cut-copy", "follow/end-shutdown", "follow/storm"),
    ),
    "c: waits for a silent server": Fault(
        "c/kvd_connection.h", "setsockopt(k->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);", "",
        ("replies/silent-read", "replies/silent-write", "follow/silent-watch"),
    ),
    "c: keeps its position when history is gone": Fault(
        "c/kvd.h", '"compacted store future"', '"future"', ("follow/refused-compacted", "follow/refused-store")
    ),
    "go: ignores END": Fault(
        "go/kvd.go", 'check(word != "END", "unavailable "+part[2]+" ")', "",
        ("follow/end-shutdown", "follow/end-compacted", "follow/end-unknown"),
    ),
    "go: drops a change": Fault(
        "go/kvd.go", 'if word == "CHANGE" {', 'if word == "CHANGE" && part[1] != "EXPIRE" {', ("follow/position",)
    ),
    "go: compares revisions as text": Fault(
        "go/kvd.go", "return len(revision) > len(last) || len(revision) == len(last) && revision > last",
        "return revision > last", ("follow/numbers", "follow/progress"),
    ),
    "go: takes a line without its end": Fault(
        "go/connection.go", 'check(err == nil, fmt.Sprint("lost ", err))\n\t\tword,',
        'check(err == nil || line != "", "lost")\n\t\tword,',
        ("replies/cut-read", "replies/cut-write", "follow/cut-line"),
    ),
    "java: takes a watch that begins elsewhere": Fault(
        "java/Kvd.java", "if (!isCopying && !begun[1].equals(position))", "if (false)", ("follow/missing-changes",)
    ),
    "java: takes what came for a line": Fault(
        "java/KvdConnection.java", "have += came;",
        "have += came;\n            if (buffer[have - 1] != '\\n') buffer[have++] = '\\n';",
        ("replies/pieces", "replies/slow", "follow/pieces"),
    ),
    "java: takes an unknown word for success": Fault(
        "java/KvdConnection.java", "if (List.of(expected).contains(line[0])) return line;", "if (true) return line;",
        ("replies/unknown-lines", "replies/pushed-lines", "follow/unknown-lines"),
    ),
    "java: sends a write again": Fault(
        "java/Kvd.java", "if (isSent && !again)", "if (isSent && again)", ("replies/cut-write", "replies/lost-write")
    ),
}  # fmt: skip


def planted(fault: Fault, room: Path) -> list[str]:
    """The command of an adapter whose client has the fault."""
    language, _, name = fault.file.partition("/")
    shutil.copytree(CLIENTS / language, room)
    text = (room / name).read_text()
    assert text.count(fault.old) == 1, fault.old
    (room / name).write_text(text.replace(fault.old, fault.new))
    _, build, adapter = COMPILERS[language]
    subprocess.run(build.split(), cwd=room, check=True, timeout=100)
    return command_of(adapter, room)


def caught(fault: Fault, room: Path) -> tuple[int, list[str], str]:
    only = [word for rule in fault.caught for word in ("--only", rule)]
    done = certify("--no-vectors", *only, *planted(fault, room))
    return done.returncode, wrong(done), done.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, "Future[tuple[int, list[str], str]]"]:
    """All faults for which there is a compiler, several at a time: most of each run is waiting."""
    room = tmp_path_factory.mktemp("faults")
    pool = ThreadPoolExecutor(4)
    return {
        name: pool.submit(caught, fault, room / str(n))
        for n, (name, fault) in enumerate(FAULTS.items())
        if shutil.which(COMPILERS[language_of(name)][0])
    }


def language_of(name: str) -> str:
    return FAULTS[name].file.partition("/")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name: str, runs: dict[str, "Future[tuple[int, list[str], str]]"]) -> None:
    needs(COMPILERS[language_of(name)][0])
    status, broken, report = runs[name].result()
    assert sorted(broken) == sorted(FAULTS[name].caught), report
    assert status == 1
