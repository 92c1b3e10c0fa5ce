"""The kit certifies its reference client, and catches each of the faults that are planted in it."""

import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certifying import KIT, REFERENCE, certify, wrong
from tests.support.processes import ROOT, Daemon


class Fault(NamedTuple):
    """old: a piece of the reference client that is there once; new: what stands there instead; caught: rules."""

    old: str
    new: str
    caught: tuple[str, ...]


FAULTS = {
    "takes a line without its end": Fault(
        'raise ConnectionError("the connection ended")', 'data = b"\\n"',
        ("replies/cut-read", "replies/cut-write"),
    ),
    "forgets what came before": Fault("self._buffer += data", "self._buffer[:] = data", ("replies/pieces",)),
    "strips values": Fault(
        '.removesuffix(b"\\r").decode()', ".decode().strip()", ("replies/pieces", "follow/position")
    ),
    "keeps the CR": Fault('.removesuffix(b"\\r")', "", ("replies/cr-lf",)),
    "sends a write again": Fault(
        "if sent and not again:", "if sent and again:", ("replies/cut-write", "replies/lost-write")
    ),
    "never gives up a silent server": Fault(
        'self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)', "self._socket.settimeout(None)",
        ("replies/silent-write", "follow/silent-watch", "follow/silent-from-the-start"),
    ),
    "asks for no PROGRESS": Fault(
        'connection.send(f"PROGRESS {self._timeout / 3:.3f}", follow)', 'connection.send("PING", follow)',
        ("follow/silent-watch",),
    ),
    "takes what was not asked for": Fault("not self._connection.is_quiet()", "False", ("replies/unasked",)),
    "takes base64 for the value": Fault(
        'base64.b64decode(value, validate=True) if word.endswith("64") else value.encode()', "value.encode()",
        ("replies/pieces", "follow/position", "follow/copy"),
    ),
    "sends any value as it is": Fault('rb"[\\t -~]*"', 'rb"[^\\x7f-\\xff]*"', ("replies/any-bytes",)),
    "sends any key": Fault('[^\\x00-\\x20\\x7f*]+', '(?s:.)+', ("replies/forged-lines",)),
    "takes a pushed line for a reply": Fault(
        "if word in STATUS_WORDS:\n", "if word:\n", ("replies/pushed-lines", "replies/unknown-lines")
    ),
    "does not know retry=": Fault("self.retry = float(told[1]) if told else None", "self.retry = None",
        ("follow/refused-unavailable", "follow/end-shutdown")),
    "takes anything for seconds": Fault(
        '(?=[0.]*[1-9])([0-5]?[0-9](?:\\.[0-9]+)?|60)(?: |$)', "([0-9.]+)", ("follow/refused-with-no-time",)
    ),
    "does not rest": Fault(
        "pause * random.uniform(0.5, 1)", "0", ("replies/storm", "follow/storm")
    ),
    "tells a change twice": Fault(
        "return int(revision) > int(last)", "return True", ("follow/repeated-change",)
    ),
    "compares revisions as text": Fault("int(revision) > int(last)", "revision > last", ("follow/numbers",)),
    "does not mind another store": Fault("if store != same:", "if False:", ("follow/change-of-another-store",)),
    "takes a watch that begins elsewhere": Fault(
        "(copying or rest == position)", "(copying or position)", ("follow/missing-changes",)
    ),
    "goes on from its first position": Fault("position = event.position or position", "pass", ("follow/progress",)),
    "takes a torn copy": Fault(
        'yield Event("copy")', 'yield Event("copy")\n                    yield Event("copied", position)',
        ("follow/cut-copy", "follow/copy"),
    ),
    "keeps its position when history is gone": Fault(
        'if error.code in ("compacted", "store", "future"):', "if False:",
        ("follow/refused-compacted", "follow/refused-store", "follow/refused-future"),
    ),
    "asks for ever": Fault(
        'elif error.code != "unavailable":\n                    raise', "", ("follow/refused-for-good",)
    ),
    "goes on after END": Fault(
        'raise KvdError("unavailable", rest.partition(" ")[2])', "pass", ("follow/end-compacted",)
    ),
    "does not count END's position": Fault('"PROGRESS", "END") and', '"PROGRESS") and', ("follow/end-shutdown",)),
    "does not log in": Fault("        if user:", "        if False:", ("login/first", "login/watch", "login/refused")),
    "takes a refused login for a lost connection": Fault(
        'if word == "ERR" else ConnectionError("lost its place")', 'if not word else ConnectionError("lost its place")',
        ("login/refused",),
    ),
    "takes items after the copy": Fault("and copying and answered == 1", "and copying", ("follow/unknown-lines",)),
}  # fmt: skip


def faulty(fault: Fault, room: Path) -> Path:
    """An adapter of a reference client that has the fault."""
    text = (KIT / "reference.py").read_text()
    assert text.count(fault.old) == 1, fault.old
    room.mkdir()
    (room / "reference.py").write_text(text.replace(fault.old, fault.new))
    return Path(shutil.copy(KIT / "reference_adapter.py", room))


def caught(fault: Fault, room: Path) -> tuple[int, list[str], str]:
    only = [word for rule in fault.caught for word in ("--only", rule)]
    done = certify("--no-vectors", "--login", *only, sys.executable, faulty(fault, room))
    return done.returncode, wrong(done), done.stdout


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, "Future[tuple[int, list[str], str]]"]:
    """All faults, several at a time: most of each run is waiting."""
    room = tmp_path_factory.mktemp("faults")
    pool = ThreadPoolExecutor(6)
    return {name: pool.submit(caught, fault, room / str(n)) for n, (name, fault) in enumerate(FAULTS.items())}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name: str, runs: dict[str, "Future[tuple[int, list[str], str]]"]) -> None:
    status, broken, report = runs[name].result()
    assert sorted(broken) == sorted(FAULTS[name].caught), report
    assert status == 1


def test_the_reference_client_is_certified(shared_daemon: Daemon) -> None:
    done = certify("--address", shared_daemon.addr, *REFERENCE)
    assert wrong(done) == [], done.stdout
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("certified: ")


def test_the_daemons_own_transcripts_are_played(shared_daemon: Daemon) -> None:
    """All but those that rule the daemon, on a store that has had others, so that its revisions are not as written."""
    vectors = ROOT / "tests" / "vectors"
    names = {path.stem for path in vectors.glob("*.txt") if "\nD: " not in path.read_text()}
    done = certify("--address", shared_daemon.addr, "--vectors", vectors, "--only", "vectors/*", *REFERENCE)
    assert wrong(done) == [], done.stdout
    played = {line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("ok ")}
    assert played == {f"vectors/{name}" for name in names}
    assert len(names) > 20
    assert done.returncode == 0


def test_the_kit_starts_a_kvd_that_is_installed() -> None:
    done = certify("--kvd", Path(sys.executable).with_name("kvd"), "--only", "vectors/values", *REFERENCE)
    assert done.stdout.splitlines()[-1] == "certified (of a part of the rules): 1 rules hold"
    assert done.returncode == 0


def test_a_store_that_is_in_use_is_left_alone(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as peer:
        peer.ask("SET mine 1")
        done = certify("--address", shared_daemon.addr, "--only", "vectors/values", *REFERENCE)
        assert peer.ask("GET mine") == "OK 1"
        peer.ask("DEL mine")
    assert done.returncode == 1
    assert "is not empty" in done.stdout


def test_the_kit_needs_nothing_but_its_directory(tmp_path: Path) -> None:
    """Without a kvd it says what to do; without the vectors it goes."""
    kit = Path(shutil.copytree(KIT, tmp_path / "kit", ignore=shutil.ignore_patterns("__pycache__")))
    alone, adapter = ("-S", "-E"), (sys.executable, "-S", "-E", kit / "reference_adapter.py")
    done = certify("--kvd", "no-such-kvd", "--only", "vectors/*", *adapter, kit=kit, python=alone)
    assert done.returncode == 2
    assert done.stderr.startswith("certify.py: no-such-kvd is not installed: ")
    done = certify("--no-vectors", "--only", "replies/pieces", *adapter, kit=kit, python=alone)
    assert done.stdout.splitlines()[-1] == "certified (of a part of the rules): 1 rules hold"
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo hello", "is not the JSON lines that README.md describes"),
        ("exit 3", "the adapter ended instead of answering connect"),
        ("echo 'no library' >&2", "no library"),
        ("echo '{}'; cat", "has none of ok, ok64, conflict and error"),
    ],
)
def test_a_program_that_is_no_adapter_is_told_apart(script: str, said: str) -> None:
    done = certify("--no-vectors", "--only", "replies/pieces", "sh", "-c", script)
    assert said in done.stdout
    assert done.returncode == 1


def test_an_adapter_that_is_not_there_is_told() -> None:
    done = certify("--no-vectors", "--only", "replies/pieces", "/no/such/adapter")
    assert "/no/such/adapter cannot be run" in done.stdout
    assert done.returncode == 1


def test_wrong_options_are_refused() -> None:
    assert certify().returncode == 2
    done = certify("--only", "replies/nothing", "true")
    assert (done.returncode, done.stderr) == (2, "certify.py: no rule is called replies/nothing\n")


def test_every_rule_says_what_it_wants() -> None:
    lines = certify("--list").stdout.splitlines()
    names, texts = lines[::2], lines[1::2]
    assert len(set(names)) == len(names) == len(texts) > 50
    assert all(text.startswith("       ") and text.endswith(".") for text in texts)
