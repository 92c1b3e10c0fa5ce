"""kvctl's settings: options, variables, and a file with named contexts; several addresses."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kvctl import Result, complaint, printed, run
from tests.support.processes import Daemon


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def home(tmp_path: Path, shared_daemon: Daemon, nobody: str) -> Path:
    """A configuration directory with two contexts."""
    (tmp_path / "kvd").mkdir()
    (tmp_path / "kvd" / "kvctl.toml").write_text(
        f'context = "up"\n[contexts.up]\naddr = "{shared_daemon.addr}"\ntimeout = 7.5\n'
        f'[contexts.down]\naddr = ["{nobody}"]\n[contexts.two]\naddr = ["{nobody}", "{shared_daemon.addr}"]\n'
    )
    return tmp_path


def ping(home: Path, *words: str, **variables: str) -> Result:
    return run(*("ping", *words), **{"XDG_CONFIG_HOME": str(home)} | variables)  # type: ignore[arg-type]


def test_an_option_is_stronger_than_a_variable_and_that_than_the_file(
    home: Path, shared_daemon: Daemon, nobody: str
) -> None:
    assert printed(ping(home)) == b"OK\n"
    assert nobody in complaint(ping(home, KVCTL_ADDR=nobody), 3)
    assert printed(ping(home, "--addr", shared_daemon.addr, KVCTL_ADDR=nobody)) == b"OK\n"
    assert nobody in complaint(ping(home, KVCTL_CONTEXT="down"), 3)
    assert printed(ping(home, KVCTL_CONTEXT="down", KVCTL_ADDR=shared_daemon.addr)) == b"OK\n"
    assert printed(ping(home, "--context", "up", KVCTL_CONTEXT="down")) == b"OK\n"
    assert printed(ping(home, "--context", "up", KVCTL_ADDR=nobody)) == b"OK\n"  # an option has named it
    assert nobody in complaint(ping(home, "--context", "up", "--addr", nobody), 3)


def test_the_file_may_be_named(home: Path, tmp_path: Path, nobody: str) -> None:
    file = tmp_path / "other.toml"
    file.write_text(f'[contexts.x]\naddr = "{nobody}"\n')
    assert nobody in complaint(ping(home, "--context=x", KVCTL_CONFIG=str(file)), 3)
    assert "there is no such file" in complaint(ping(home, KVCTL_CONFIG=str(tmp_path / "none")), 2)


@pytest.mark.parametrize("name", ["password", "~/password"])
def test_files_are_found_beside_it_wherever_it_is_used(home: Path, tmp_path: Path, nobody: str, name: str) -> None:
    file = tmp_path / "kvctl.toml"
    file.write_text(f'[contexts.x]\naddr = "{nobody}"\nuser = "ada"\npassword-file = "{name}"\n')
    variables = {"KVCTL_CONFIG": str(file), "HOME": str(tmp_path)}
    assert f"cannot read '{tmp_path}/password'" in complaint(ping(home, "--context=x", **variables), 2)
    (tmp_path / "password").write_text("secret\n")
    assert nobody in complaint(ping(home, "--context=x", **variables), 3)


def test_one_of_several_addresses_will_do(home: Path, shared_daemon: Daemon, nobody: str) -> None:
    several = f"{nobody},{shared_daemon.addr}"
    assert printed(ping(home, "--addr", several)) == b"OK\n"
    assert printed(ping(home, KVCTL_ADDR=several)) == b"OK\n"
    assert printed(ping(home, "--context", "two")) == b"OK\n"
    assert printed(run("--addr", several, "send", stdin=b"PING hello\n")) == b"OK hello\n"
    assert b"connected" not in printed(run("--addr", several, "shell", stdin=b"PING\n"))
    assert printed(run("--addr", several, "wait", "none", "--gone")) == b""
    assert "invalid address ''" in complaint(ping(home, "--addr", f"{nobody},"), 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("contexts = 1", "contexts: expected a table"),
        ("[contexts]\nx = 1", "contexts: expected a table"),
        ('[contexts.x]\nadr = "h"', "contexts.x: unknown name 'adr': expected some of addr, "),
        ("[contexts.x]\naddr = true", "contexts.x.addr: expected a text"),
        ('[contexts.x]\ntls = "yes"', "contexts.x.tls: expected true or false"),
        ('[contexts.x]\naddr = "::1"', "contexts.x.addr: invalid address '::1'"),
        ("[contexts.x]\ntimeout = -1", "contexts.x.timeout: invalid time '-1'"),
        ("[contexts.y]", "no such context: 'x'"),
        ("[context.x]", "context: expected the name of a context"),
        ("[contexts.x", "not TOML"),
        ('addr = "h"', "unknown name 'addr'"),
    ],
)
def test_what_is_wrong_in_the_file_is_explained(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "kvctl.toml"
    file.write_text(text if "context.x" in text else f'context = "x"\n{text}\n')
    said = complaint(run("ping", KVCTL_CONFIG=str(file)), 2)
    assert says in said
    assert str(file) in said
    assert printed(run("help", KVCTL_CONFIG=str(file)))


def test_variables_are_read_as_options_are() -> None:
    assert "KVCTL_TIMEOUT: invalid time 'soon'" in complaint(run("ping", KVCTL_TIMEOUT="soon"), 2)
    assert "KVCTL_TLS: invalid choice 'maybe'" in complaint(run("ping", KVCTL_TLS="maybe"), 2)
    assert "no such context: 'x'" in complaint(run("ping", "--context", "x"), 2)
