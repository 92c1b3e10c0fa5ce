"""Every rule of protocol.txt, sections 2 to 12, has a vector or a test: tests/vectors/RULES says which."""

import re
from itertools import pairwise
from typing import NamedTuple

import pytest

from tests.support.certifying import KIT
from tests.support.page import section
from tests.support.processes import ROOT

TESTS = ROOT / "tests"
VECTORS = TESTS / "vectors"
SECTIONS = range(2, 13)
MOST_WITHOUT = 3
"""Rules of which nothing can show that they hold."""

_ROW = re.compile(r"  - |(?: {4})?(?:\S+ )*\S*[^\s.:;?)] {2,}\S")
"""The beginning of a row of a table, `name    meaning`, or of an entry of a list."""
_FORM = re.compile(r" {4}[A-Z]{2,}")
_FEWEST_WORDS = 4
"""Less than this is a form alone, such as `OK`."""


class Rule(NamedTuple):
    """section: of the page; text: words of it; shown: by what."""

    section: int
    text: str
    shown: list[str]


def rules() -> list[Rule]:
    found: list[Rule] = []
    number = 0
    for line in (VECTORS / "RULES").read_text().partition("\n\n2\n")[2].split("\n"):
        if re.fullmatch(r"\d+", line):
            number = int(line)
        elif line.startswith("    "):
            found[-1].shown.append(line.strip())
        elif line:
            found.append(Rule(number or SECTIONS[0], line, []))
    return found


RULES = rules()


def plain(text: str) -> str:
    return " ".join(text.split())


def units(number: int) -> list[str]:
    """The paragraphs of a section, with each row and entry for itself; not its transcripts, which are played."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", section(number).strip("\n")):
        lines = paragraph.split("\n")
        if all(re.match(r"    [CS]: ", line) for line in lines):
            continue
        found.append(lines[0])
        for line, after in pairwise([*lines[1:], ""]):
            if _ROW.match(line) or (_FORM.match(line) and after.startswith(" " * 8)):
                found.append(line)
            else:
                found[-1] += f" {line}"
    texts = [plain(text) for text in found]
    return [text for text in texts if len(text.split()) >= _FEWEST_WORDS and not text.endswith(":")]


@pytest.mark.parametrize("number", SECTIONS)
def test_everything_that_the_page_says_is_shown_somewhere(number: int) -> None:
    texts = [rule.text for rule in RULES if rule.section == number]
    assert [unit for unit in units(number) if not any(text in unit for text in texts)] == []


@pytest.mark.parametrize("number", SECTIONS)
def test_every_rule_stands_on_the_page(number: int) -> None:
    page = plain(section(number))
    assert [rule.text for rule in RULES if rule.section == number and rule.text not in page] == []


def test_what_shows_a_rule_is_there() -> None:
    kit = "".join(path.read_text() for path in KIT.glob("*.py"))
    for rule in RULES:
        assert rule.shown, rule.text
        for shown in rule.shown:
            assert is_there(shown, kit), f"{rule.text}: {shown}"
    assert sum(shown.startswith("- ") for rule in RULES for shown in rule.shown) <= MOST_WITHOUT


def is_there(shown: str, kit: str) -> bool:
    if shown.startswith("- "):
        return True
    if shown.startswith("kit "):
        name = shown.rpartition("/")[2].replace("-", "_")
        return f"async def {name}(command" in kit
    file, found, function = shown.partition("::")
    if found:
        return re.search(rf"^(?:async )?def {function}\(", (TESTS / file).read_text(), re.MULTILINE) is not None
    return all((VECTORS / f"{name}.txt").is_file() for name in shown.split(" "))


def test_every_vector_shows_a_rule() -> None:
    named = {name for rule in RULES for shown in rule.shown for name in shown.split(" ")}
    walks = {"json"}  # of values that people send
    there = {str(path.relative_to(VECTORS).with_suffix("")) for path in VECTORS.rglob("*.txt")}
    assert there - named == walks
