"""What section 13 of protocol.txt tells of lines, held against what a daemon and the vectors say."""

import re
from pathlib import Path

from tests.support.page import section
from tests.support.processes import StartDaemon

VECTORS = Path(__file__).parents[1] / "vectors"
TOO_LONG_LATER = "x" * 10_000


def told_of(words: str) -> str:
    """The entry of section 13 that has these words, in one line."""
    entries = [" ".join(entry.split()) for entry in section(13).split("\n  - ")]
    return next(entry for entry in entries if words in entry)


def test_which_conflicts_have_a_second_word() -> None:
    text = "\n".join(path.read_text(errors="replace") for path in sorted(VECTORS.glob("*.txt")))
    asked = re.findall(r"^C: (.*)\nS: CONFLICT \d+ \S+$", text, re.MULTILINE)
    forms = {"PUT with=" if request.startswith("PUT ") and " with=" in request else request for request in asked}
    assert forms == {"COMMIT", "PUT with="}
    told = told_of("all other CONFLICTs have one")
    assert all(form in told for form in forms)


def test_a_line_is_longer_than_max_line_only_where_a_value_was_written_under_a_larger_limit(
    start_daemon: StartDaemon,
) -> None:
    daemon = start_daemon()
    with daemon.connect() as peer:
        assert peer.ask(f"SET big {TOO_LONG_LATER}") == "OK 1"
    daemon.stop()
    with start_daemon("--max-value", "1KiB").connect() as peer:
        peer.send("INFO\nPING end\n")
        facts = {}
        while (line := peer.line()) != "OK end":
            if line.startswith("INFO "):
                _, name, value = line.split(" ", 2)
                facts[name] = value
        assert len(TOO_LONG_LATER) > int(facts["max-line"])
        assert peer.ask("GET big") == f"OK {TOO_LONG_LATER}"
        assert peer.ask(f"SET big {TOO_LONG_LATER}").startswith("ERR too-long ")
    assert "`max-value` was larger" in told_of("`max-line` of INFO")
