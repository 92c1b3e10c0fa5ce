"""Each script's header says what the script does with KEYS and ARGV, and what it returns."""

import re
from pathlib import Path

import pytest

from kvd.store.redis import digest
from kvd.store.redis import scripts as loader
from kvd.wire import shortcuts
from tests.support.scripts import LUA, header

SCRIPTS = sorted(path for path in LUA.glob("*.lua") if path.stem in loader.SCRIPTS)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_has_a_header_that_fits_it(path: Path) -> None:
    source = path.read_text()
    parts = header(source)
    assert set(parts) == {"what", "KEYS", "ARGV", "RETURNS"}
    body = whole(path)
    keys = parts["KEYS"].split()
    assert set(keys) <= {"data", "big", "index", "ttl", "log", "meta", "replaced", "owned"}
    if "#KEYS" not in body and "ipairs(KEYS)" not in body:
        assert {int(number) for number in re.findall(r"KEYS\[(\d+)\]", body)} <= set(range(1, len(keys) + 1))
        assert len(keys) == max(int(number) for number in re.findall(r"KEYS\[(\d+)\]", body))
    arguments = re.split(r"[;,]", parts["ARGV"])[0].split()
    used = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", body)}
    assert used <= set(range(1, len(arguments) + 1))


def whole(path: Path) -> str:
    """A script after its header, with the parts that it names, but for the prelude."""
    source = loader.SCRIPTS[path.stem].decode().removeprefix(f"local LAYOUT = '{loader.LAYOUT}'\n")
    return source.removeprefix((LUA / "prelude.lua").read_text())


def test_every_file_is_a_script_or_a_part_and_every_script_begins_with_the_prelude() -> None:
    names = {path.stem for path in LUA.glob("*.lua")}
    lines = [line for path in SCRIPTS for line in re.findall(r"^-- PARTS: (.+)$", path.read_text(), re.MULTILINE)]
    parts = {name for line in lines for name in line.split()}
    assert names == {"prelude", *parts, *loader.SCRIPTS}
    assert all(whole(path) != loader.SCRIPTS[path.stem].decode() for path in SCRIPTS)
    assert [path.name for path in SCRIPTS if "'TIME'" in path.read_text()] == []


def test_lengths_are_the_same_in_scripts_and_elsewhere() -> None:
    scripts = {path.stem: whole(path) for path in SCRIPTS}
    assert shortcuts.LONGEST_VALUE == digest.LARGE
    assert f"local LARGE = {digest.LARGE} " in scripts["write"]
    assert f"local SHORT = {digest.SHORT} " in scripts["write"]
    assert f"local SHORT = {digest.SHORT} " in scripts["simple"]


@pytest.mark.parametrize("path", sorted(LUA.glob("*.lua")), ids=lambda path: path.name)
def test_a_script_never_makes_commands_or_errors_out_of_what_clients_sent(path: Path) -> None:
    source = path.read_text()
    assert "loadstring" not in source
    for call in re.findall(r"error_reply\((.*)\)", source):
        assert "ARGV" not in call
    for name in re.findall(r"redis\.p?call\((\S+),", source):
        assert name == "command" or re.fullmatch(r"'[A-Z]+'", name)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_called_with_the_keys_of_its_header(path: Path) -> None:
    every = "data big index ttl log meta replaced owned"
    modules = [module.read_text() for module in Path(loader.__file__).parent.glob("*.py")]
    calls = [keys for text in modules for keys in re.findall(rf'script\(\s*"{path.stem}", (\[[A-Z, ]+\]|ALL)', text)]
    assert calls
    named = {every if keys == "ALL" else " ".join(re.findall(r"[A-Z]+", keys)).lower() for keys in calls}
    assert named == {header(path.read_text())["KEYS"].strip()}
