"""docs/client.md names all of the Python API as it is, and its programs do what it shows."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import kvd
from kvd import client, errors
from kvd.client import (
    Client,
    Conflict,
    Election,
    FilePosition,
    Follow,
    Lease,
    Lock,
    Mirror,
    Unreachable,
    Watch,
    WatchEnded,
)
from kvd.client.transaction import Transaction
from tests.support.processes import PATIENCE, ROOT, Daemon

PAGE = (ROOT / "docs" / "client.md").read_text()
HEADINGS = re.findall(r"^#+ `(.*)`$", PAGE, re.MULTILINE)
LISTED = {
    name.rpartition(".")[2]: line
    for line in re.findall(r"^\| .*`.*$", PAGE, re.MULTILINE)
    for name in re.findall(r"`([\w.]+)`", line.split("|")[1])
}
"""The lines of tables, by the names in their first column."""
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
MADE = (Client, Lock, Election, Lease)
"""Classes that a program gets by a call."""
PROPERTIES = [name for name, _ in inspect.getmembers(Lock, lambda one: isinstance(one, property))] + ["name"]
KINDS = (Client, Watch, Follow, Mirror, FilePosition, Lock, Election, Lease)
EXPORTED = {name: getattr(client, name) for name in client.__all__}


def heading(name: str, of: Callable[..., Any]) -> str:
    """A function and its arguments as Python shows them, without their types."""
    signature = inspect.signature(of)
    arguments = [
        argument.replace(annotation=argument.empty)
        for argument in signature.parameters.values()
        if argument.name not in ("self", "_cls")
    ]
    return f"{name}{signature.replace(parameters=arguments, return_annotation=signature.empty)}"


def public_methods(kind: type) -> dict[str, Callable[..., Any]]:
    known = dir(Mapping) if issubclass(kind, Mapping) else []
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {name: method for name, method in methods if name[0] != "_" and name not in known}


def test_every_public_method_stands_there_with_its_arguments() -> None:
    methods = [(name, method) for kind in KINDS for name, method in public_methods(kind).items()]
    assert len(methods) >= 29
    assert {heading(name, method) for name, method in methods} <= set(HEADINGS)


def test_a_transaction_has_the_calls_of_a_client() -> None:
    """But for `check`, which stands there by itself."""
    calls = public_methods(Transaction)
    assert heading("check", calls.pop("check")) in HEADINGS
    for name, call in calls.items():
        assert heading(name, call) == heading(name, public_methods(Client)[name])
        assert f"`{name}`" in re.findall(r"^It has (.*)$", PAGE, re.MULTILINE)[0]


def test_every_exported_function_and_class_stands_there() -> None:
    for name, one in EXPORTED.items():
        if not inspect.isclass(one):
            shown = heading(name, one) if callable(one) else f"`{name}` is `{one!r}`"
            assert shown in (HEADINGS if callable(one) else PAGE)
        elif issubclass(one, Exception):
            assert f"`{one.__mro__[1].__name__}` |" in LISTED[name].split("|", 2)[2]
        elif one in MADE:
            assert f"\n## {name}\n" in PAGE
        else:
            assert heading(name, one if one in (Watch, Follow, Mirror, FilePosition) else one.__new__) in HEADINGS


def test_nothing_stands_there_that_is_not() -> None:
    methods = {name for kind in KINDS for name in public_methods(kind)} | {"check"}
    functions = {name: one for name, one in EXPORTED.items() if callable(one)}
    names = {text.partition("(")[0] for text in HEADINGS}
    attributes = {*public_attributes(Watch("a")), *public_attributes(Transaction()), *PROPERTIES}
    assert names - methods - set(functions) == attributes


def public_attributes(one: object) -> list[str]:
    return [name for name in vars(one) if name[0] != "_"]


def test_every_refusal_stands_there_with_its_code() -> None:
    for code, kind in errors.REFUSALS.items():
        assert f"`{code}`" in LISTED[kind.__name__].split("|")[2]


@pytest.mark.parametrize(
    "error", [Conflict(3), WatchEnded("3@c3d1a7f0", "store", "gone"), Unreachable("no"), errors.Refusal("no")]
)
def test_what_an_error_says_stands_there(error: errors.KvdError) -> None:
    line = LISTED[type(error).__name__]
    assert public_attributes(error)
    assert all(f"`{name}`" in line for name in public_attributes(error))


def test_the_package_has_a_version() -> None:
    assert "`kvd.__version__`" in PAGE
    assert [name for name in vars(kvd) if not inspect.ismodule(getattr(kvd, name)) and name[0] != "_"] == []


def test_it_is_linked() -> None:
    for page in ("README.md", "CHANGELOG.md", "docs/examples/README.md"):
        assert "client.md)" in (ROOT / page).read_text(), page


@pytest.mark.slow
def test_every_program_prints_what_is_shown(daemon: Daemon, tmp_path: Path) -> None:
    assert len(PROGRAMS) == PAGE.count("```python") >= 5
    for number, (program, shown) in enumerate(PROGRAMS):
        path = tmp_path / f"program_{number}.py"
        assert "127.0.0.1:5830" in program
        path.write_text(program.replace("127.0.0.1:5830", daemon.addr))
        done = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
        assert (done.stdout, done.stderr) == (shown, ""), program
