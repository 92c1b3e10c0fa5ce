"""The clients in other languages are certified, and their examples follow a prefix through restarts."""

import json
import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.access import PASSWORD, users_text
from tests.support.certifying import certify, wrong
from tests.support.languages import CLIENTS, LANGUAGES, Workshop, command_of
from tests.support.processes import PATIENCE, ROOT, Daemon, StartDaemon, needs


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGES)
def test_a_client_is_certified(name: str, workshop: Workshop, shared_daemon: Daemon) -> None:
    needs(LANGUAGES[name].tool)
    adapter = command_of(LANGUAGES[name].adapter, workshop.prepare(name))
    done = certify("--address", shared_daemon.addr, "--login", "--at-once", "12", *adapter)
    assert wrong(done) == [], done.stdout
    assert done.stdout.splitlines()[-1].startswith("certified: ")
    assert done.returncode == 0


@pytest.mark.slow
def test_the_clients_log_in_to_a_daemon_that_has_users(
    workshop: Workshop, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    users = tmp_path / "users.toml"
    users.write_text(users_text({"ada": {"app/*": "read,write,watch"}}))
    daemon = start_daemon("--fsync", "no", "--users", str(users))
    names = [name for name, language in LANGUAGES.items() if os.environ.get("CI") or shutil.which(language.tool)]
    for password, said in ((PASSWORD, ""), ("wrong", "auth")):
        for name in names:
            adapter = command_of(LANGUAGES[name].adapter, workshop.prepare(name))
            login = {"user": "ada", "password": password}
            asked = [
                {"op": "connect", "address": daemon.addr, "timeout": "20", **login},
                {"op": "set", "key": f"app/{name}", "value": "1"},
            ]
            lines = "".join(json.dumps(one) + "\n" for one in asked)
            done = subprocess.run(
                adapter, input=lines, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
            )
            answer = json.loads(done.stdout.splitlines()[1])
            assert answer.get("error", "") == said, (name, answer)


def secure_adapters(workshop: Workshop) -> dict[str, list[str]]:
    """Those of the languages that have TLS, by name."""
    names = [name for name in LANGUAGES if name != "bash"]
    names = [name for name in names if os.environ.get("CI") or shutil.which(LANGUAGES[name].tool)]
    adapters = {name: command_of(LANGUAGES[name].adapter, workshop.prepare(name)) for name in names}
    for name, command in (
        ("c", ["gcc", "-O1", "-DKVD_TLS", "-o", "secure", "adapter.c", "-lssl", "-lcrypto"]),
        ("perl", ["perl", "-e", "require IO::Socket::SSL"]),
    ):
        if name in names and subprocess.run(command, cwd=workshop.prepare(name), check=False).returncode:
            assert not os.environ.get("CI"), f"{name}: what TLS needs must be installed"
            del adapters[name]
    if "c" in adapters:
        adapters["c"] = [str(workshop.prepare("c") / "secure")]
    return adapters


def errors_of(adapters: dict[str, list[str]], connection: dict[str, str], ops: list[str]) -> dict[str, list[str]]:
    """What came of operations, all languages at a time: codes, "" for what was done."""
    with ExitStack() as stack:
        processes = {}
        for name, adapter in adapters.items():
            asked = [{"op": "connect"} | connection, *({"op": op, "key": name, "value": "1"} for op in ops)]
            lines = "".join(json.dumps(one) + "\n" for one in asked)
            process = subprocess.Popen(adapter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes[name] = stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdin
            process.stdin.write(lines)
            process.stdin.flush()
        return {name: answers_of(process, len(ops)) for name, process in processes.items()}


def answers_of(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout
    answers = [json.loads(process.stdout.readline()) for _ in range(count + 1)]
    return [answer.get("error", "") for answer in answers[1:]]


@pytest.mark.slow
def test_the_clients_of_languages_that_have_tls_speak_it(
    workshop: Workshop, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """With a certificate of their own; and see through a server that another authority signed, or for another name."""
    ours, other = tls.Authority(tmp_path / "ours"), tls.Authority(tmp_path / "other")
    cert, key = ours.sign("client.test", common_name="ada")
    plain = tmp_path / "plain.key"  # Java's own library reads no other form
    subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", key, "-out", plain], check=True)
    own = {"cert": str(cert), "key": str(plain)}
    daemon = start_daemon("--fsync", "no", *tls.options(ours.sign(tls.HOST), ours.file))
    address = {"address": f"{tls.HOST}:{tls.port_of(daemon)}", "timeout": "20"}
    adapters = secure_adapters(workshop)
    done, lost = ["", ""], ["unavailable"]
    right = {**address, "ca": str(ours.file), **own}
    assert errors_of(adapters, right, ["set", "get"]) == dict.fromkeys(adapters, done)
    hasty = {**address, "timeout": "0.5"}
    for connection in (
        {"ca": str(other.file), **own},
        {"ca": str(ours.file), **own, "address": f"127.0.0.1:{tls.port_of(daemon)}"},
    ):
        assert errors_of(adapters, hasty | connection, ["set"]) == dict.fromkeys(adapters, lost), connection
    assert errors_of(adapters, hasty | {"ca": str(ours.file)}, ["get"]) == dict.fromkeys(adapters, lost)


@pytest.mark.parametrize(
    "words", ["kvd_set lost", "kvd_set lost two words", "kvd_put lost value", "kvd_put lost '' two words"]
)
def test_bash_loses_no_value_that_was_not_quoted(words: str, shared_daemon: Daemon) -> None:
    script = f". ./kvd.sh; {words} && exit 9; echo $KVD_ERROR; kvd_get lost || echo $KVD_ERROR"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT / "clients/bash", env=os.environ | {"KVD_ADDRESS": shared_daemon.addr},
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["usage", "none"]


def test_perl_without_the_module_for_tls_says_which_is_missing(workshop: Workshop, tmp_path: Path) -> None:
    needs("perl")
    missing = tmp_path / "IO" / "Socket" / "SSL.pm"
    missing.parent.mkdir(parents=True)
    missing.write_text("die 'it is not here';")
    listener = socket.create_server(("127.0.0.1", 0))
    place = workshop.prepare("perl")
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    script = f"use Kvd; Kvd->new('{address}', 5, tls => 1)->get('a')"
    command = ["perl", f"-I{place}", f"-I{tmp_path}", "-e", f"eval {{ {script} }}; print qq($@->{{code}} $@->{{text}})"]
    with listener:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "usage tls needs the Perl module IO::Socket::SSL"


@pytest.mark.parametrize("name", [name for name, language in LANGUAGES.items() if not language.build])
def test_a_script_finds_its_client_wherever_it_is_run_from(name: str) -> None:
    program, script = LANGUAGES[name].adapter
    needs(program)
    line = json.dumps({"op": "connect", "address": "127.0.0.1:1", "timeout": "1"}) + "\n"
    for place in (CLIENTS / name, CLIENTS, ROOT):
        command = [program, str((CLIENTS / name / script).relative_to(place))]
        done = subprocess.run(
            command, cwd=place, input=line, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert (json.loads(done.stdout), done.stderr) == ({"ok": ""}, ""), command


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_client_is_one_readable_file(name: str) -> None:
    """And in some languages its connections or TLS in a file or two beside it."""
    shown = ("adapter", "example")
    beside = [path for path in (CLIENTS / name).iterdir() if path.is_file() and path.stem.lower() not in shown]
    texts = {path.name: path.read_text().splitlines() for path in beside}
    assert len(texts[LANGUAGES[name].client]) >= 60
    assert {name for name, lines in texts.items() if len(lines) > 150 or max(map(len, lines)) > 130} == set()


@pytest.mark.parametrize("script", ["Kvd->new('localhost')->get('a')", "Kvd->new('localhost')->follow('-', '*')->()"])
def test_an_error_of_perl_that_nobody_catches_tells_what_it_is(script: str) -> None:
    needs("perl")
    command = ["perl", f"-I{CLIENTS / 'perl'}", "-e", f"use Kvd; {script}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode > 0, done.stderr) == (True, "usage expected HOST:PORT\n")


def test_javascript_says_what_address_it_expects() -> None:
    needs("node")
    script = "import('./kvd.mjs').then(({ Kvd }) => new Kvd('localhost')).catch((error) => console.log(error.message))"
    done = subprocess.run(
        ["node", "-e", script], cwd=CLIENTS / "javascript", capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == "usage expected HOST:PORT\n"
