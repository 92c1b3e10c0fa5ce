"""The embedded server: one owner, no orphans, nothing acknowledged lost, damage reported."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kvd.embedded.aof import NAME as AOF
from tests.support.daemons import fill, gone, one_line_error, run_kvd
from tests.support.processes import ROOT, Daemon, StartDaemon, wait_for


def setting(daemon: Daemon, name: str) -> str:
    """What the server itself says of one."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(daemon.data / "run" / "redis.sock"))
        peer.sendall(f"CONFIG GET {name}\r\n".encode())
        return peer.recv(1000).decode().split("\r\n")[-2]


def test_a_second_daemon_on_the_same_directory_is_refused(daemon: Daemon) -> None:
    message = one_line_error(run_kvd("--data", str(daemon.data)))
    assert f"in use by another kvd (process {daemon.pid})" in message
    assert "--data" in message
    with daemon.connect() as peer:
        assert peer.ask("PING still here") == "OK still here"


@pytest.mark.slow
def test_of_four_started_at_once_one_serves(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    wait_for("three to give up", lambda: sum(process.poll() is not None for process in started) == 3)
    (serving,) = (process for process in started if process.poll() is None)
    assert serving.stdout
    assert b"listens on" in serving.stdout.readline()
    serving.terminate()
    outputs = [process.communicate(timeout=30) for process in started]
    assert sorted(process.returncode for process in started) == [0, 1, 1, 1]
    assert not any(b"listens on" in out for out, _ in outputs)
    assert sum(b"in use by another kvd" in error for _, error in outputs) == 3


def test_the_server_ends_when_the_daemon_is_killed(daemon: Daemon) -> None:
    server = daemon.redis_pid()
    daemon.kill()
    daemon.wait()
    wait_for("the server's end", lambda: gone(server))


@pytest.mark.slow
def test_the_next_daemon_starts_at_once_after_a_kill_and_finds_everything(daemon: Daemon) -> None:
    fill(daemon, 1000)
    daemon.kill()
    daemon.wait()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 1000"
        assert peer.ask("GET key999") == "OK value999"


def test_a_server_that_dies_is_started_again_under_open_connections(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        assert watcher.ask("WATCH").startswith("OK 0@")
        assert peer.ask("SET a 1") == "OK 1"
        os.kill(daemon.redis_pid(), signal.SIGKILL)
        replies = [peer.ask("SET b 2")]
        while not replies[-1].startswith("OK"):
            assert replies[-1].startswith(("ERR unavailable", "ERR uncertain"))
            replies.append(peer.ask("SET b 2"))
        assert peer.ask("GET a") == "OK 1"
        seen = [watcher.line() for _ in range(int(replies[-1].split()[1]))]
    assert [line.split("@")[0] for line in seen] == [f"CHANGE {number + 1}" for number in range(len(seen))]
    assert seen[0].endswith("SET a 1")
    assert seen[-1].endswith("SET b 2")
    assert daemon.says("ended (by signal SIGKILL); starting it again")


@pytest.mark.slow
def test_while_the_server_cannot_start_requests_are_refused_and_answered_later(daemon: Daemon) -> None:
    fill(daemon, 10)
    aof = daemon.append_only_file
    hidden = aof.with_name("elsewhere")
    with daemon.connect() as peer:
        server = daemon.redis_pid()
        os.kill(server, signal.SIGSTOP)
        aof.rename(hidden)
        aof.symlink_to(daemon.data)
        os.kill(server, signal.SIGKILL)
        assert peer.ask("GET key1").startswith("ERR unavailable ")
        assert peer.ask("SET key1 x").startswith("ERR unavailable ")
        assert peer.ask("LIST").startswith("ERR unavailable ")
        assert peer.ask("WATCH").startswith("ERR unavailable ")
        # In one step: an engine that is started between two would begin a new file.
        hidden.replace(aof)
        wait_for("the store", lambda: peer.ask("GET key1") == "OK value1")


def test_an_incomplete_end_of_the_append_only_file_is_cut_off_kept_and_reported(daemon: Daemon) -> None:
    fill(daemon, 5)
    daemon.stop()
    aof = daemon.append_only_file
    whole = aof.read_bytes()
    aof.write_bytes(whole + b"*3\r\n$4\r\nHSET\r\n$10\r\n{kvd}")
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"
    assert daemon.says(f"were moved to {aof.name}.cut-")
    (kept,) = aof.parent.glob("*.cut-*")
    assert kept.read_bytes().endswith(b"$10\r\n{kvd}")


@pytest.mark.slow
def test_a_batch_that_was_cut_behind_a_whole_command_is_cut_off_whole(daemon: Daemon) -> None:
    """Redis's own repair leaves its MULTI there, and all that is written later stands after it."""
    fill(daemon, 5)
    daemon.stop()
    aof = daemon.append_only_file
    whole = aof.read_bytes()
    batch = (
        b"*1\r\n$5\r\nMULTI\r\n*4\r\n$4\r\nHSET\r\n$10\r\n{kvd}:data\r\n$1\r\nk\r\n$7\r\n9 0 t v\r\n*4\r\n$4\r\nHSET"
    )
    aof.write_bytes(whole + batch)
    daemon.start()
    assert aof.read_bytes().startswith(whole)
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"
        assert peer.ask("SET later value").startswith("OK ")
    (kept,) = aof.parent.glob("*.cut-*")
    assert kept.read_bytes() == batch
    for _ in range(2):
        daemon.stop()
        daemon.start()
        with daemon.connect() as peer:
            assert peer.ask("GET later") == "OK value"


def test_damage_in_the_middle_stops_the_start_and_the_message_repairs_it(daemon: Daemon) -> None:
    fill(daemon, 50)
    fill(daemon, 50)
    daemon.stop()
    aof = daemon.append_only_file
    whole = aof.read_bytes()
    middle = whole.rindex(b"\r\n*", 0, whole.rindex(b"value40")) + 2
    aof.write_bytes(whole[:middle] + b"#" + whole[middle + 1 :])
    message = one_line_error(run_kvd("--data", str(daemon.data)))
    assert str(aof) in message
    assert aof.read_bytes()[middle : middle + 1] == b"#"
    repair = message[message.index("cp '") :]
    subprocess.run(["bash", "-c", repair], input="y\n", text=True, check=True, capture_output=True)
    daemon.start()
    assert aof.with_name(f"{aof.name}.damaged").exists()


def test_a_command_that_the_server_would_skip_stops_the_start(daemon: Daemon) -> None:
    fill(daemon, 50)
    daemon.stop()
    aof = daemon.append_only_file
    aof.write_bytes(aof.read_bytes().replace(b"\r\nZADD\r\n", b"\r\nXADD\r\n"))
    message = one_line_error(run_kvd("--data", str(daemon.data)))
    assert f"{aof.name} is damaged" in message


@pytest.mark.slow
def test_a_length_damaged_in_the_middle_is_not_taken_for_an_end(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        for number in range(60):
            assert peer.ask(f"SET big{number} {'x' * 100_000}").startswith("OK")
    daemon.stop()
    aof = daemon.append_only_file
    whole = aof.read_bytes()
    length = whole.index(b"$100000\r\n")
    aof.write_bytes(whole[:length] + b"$99999999" + whole[length + 7 :])
    size = aof.stat().st_size
    assert "damaged, and not as a crash leaves it" in one_line_error(run_kvd("--data", str(daemon.data)))
    assert aof.stat().st_size == size
    aof.write_bytes(whole)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 60"


def test_a_snapshot_of_another_redis_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"REDIS0009")
    assert "dump.rdb" in one_line_error(run_kvd("--data", str(tmp_path)))


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in one_line_error(run_kvd("--data", str(file)))


def test_a_deep_directory_gets_its_socket_elsewhere(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon(data=tmp_path / ("d" * 100) / ("e" * 100))
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"


def test_the_server_has_no_tcp_port_and_its_socket_is_private(daemon: Daemon) -> None:
    server = psutil.Process(daemon.redis_pid())
    assert [c for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    assert (daemon.data / "run").stat().st_mode & 0o777 == 0o700
    assert setting(daemon, "appendfsync") == "always"


def test_fsync_is_a_choice(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "everysec")
    assert setting(daemon, "appendfsync") == "everysec"


def test_the_file_is_not_written_anew_for_the_history_alone(daemon: Daemon) -> None:
    """Which may take 64 MiB; by Redis's default, 64 MiB are what a file is written anew from."""
    assert setting(daemon, "auto-aof-rewrite-min-size") == str(256 * 1024 * 1024)


def test_ctrl_c_in_a_terminal_reaches_the_daemon_first(daemon: Daemon) -> None:
    """The terminal signals a whole process group; the server is in another."""
    assert os.getpgid(daemon.redis_pid()) != os.getpgid(daemon.pid)
    fill(daemon, 10)
    server = psutil.Process(daemon.redis_pid())
    daemon.kill(signal.SIGINT)
    assert daemon.wait() == 0
    assert not server.is_running()


def test_what_a_killed_server_had_begun_to_write_anew_is_removed(daemon: Daemon) -> None:
    fill(daemon, 10)
    daemon.crash()
    left = daemon.data / "temp-rewriteaof-bg-4711.aof"
    left.write_bytes(b"x" * 1000)
    daemon.start()
    assert not left.exists()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 10"


def test_a_long_value_that_was_cut_is_an_incomplete_end_too(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--max-value", "16MiB")
    fill(daemon, 10)
    with daemon.connect() as peer:
        assert peer.ask(f"SET long {'x' * 6_000_000}") == "OK 11"
    daemon.crash()
    aof = daemon.append_only_file
    with aof.open("r+b") as file:
        file.truncate(aof.stat().st_size - 1000)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 10"


def test_a_name_that_cannot_be_a_hosts_is_one_line(tmp_path: Path) -> None:
    assert "cannot listen on a..b:1" in one_line_error(run_kvd("--listen", "a..b:1", "--data", str(tmp_path / "data")))


def test_a_directory_that_is_removed_under_the_daemon_does_not_end_it(daemon: Daemon) -> None:
    fill(daemon, 10)
    hidden = daemon.data.with_name("hidden")
    daemon.data.rename(hidden)
    with daemon.connect() as peer:
        assert peer.ask("SET a 1").startswith("ERR unavailable ")
        assert peer.ask("GET key1") == "OK value1"
        hidden.rename(daemon.data)
        wait_for("room", lambda: peer.ask("SET a 1").startswith("OK"))


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / AOF).mkdir()
    message = one_line_error(run_kvd("--data", str(tmp_path)))
    assert "Can't open the append-only file" in message
    assert "--fix" not in message
