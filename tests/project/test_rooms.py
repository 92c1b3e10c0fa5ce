"""The tests' own rooms: what several of them use stands in tests/support, never in a module of tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import ROOT

TESTS = ROOT / "tests"
MODULES = sorted(TESTS.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """All modules, and names of modules, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def is_of_tests(name: str) -> bool:
    """Whether a name that is imported is, or is from, a module that pytest collects or configures itself by."""
    return any(part.startswith("test_") or part == "conftest" for part in name.split("."))


def test_no_module_of_tests_is_imported() -> None:
    assert is_of_tests("tests.store.test_store.put")
    assert {path: names for path in MODULES if (names := [name for name in imported(path) if is_of_tests(name)])} == {}


def test_every_module_of_tests_stands_in_a_room() -> None:
    assert sorted(path.name for path in TESTS.glob("*.py")) == ["__init__.py", "conftest.py"]
    assert [path for path in MODULES if not (path.parent / "__init__.py").is_file()] == []
