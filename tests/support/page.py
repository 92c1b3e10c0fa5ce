"""kvd/protocol.txt, for the tests that hold it."""

import re

from tests.support.processes import ROOT

TEXT = (ROOT / "kvd" / "protocol.txt").read_text()


def section(number: int) -> str:
    """The text of one section, without its title."""
    match = re.search(rf"^{number}  [^\n]*\n-+\n(.*?)(?=^\d+  [^\n]*\n-+\n|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert match, f"no section {number}"
    return match[1]
