"""RESUME, SYNC, PROGRESS and slow watchers, against real daemons."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon, needs, wait_for

MEGABYTE = 1 << 20


def position_of(line: str) -> str:
    """The position in a CHANGE, PROGRESS, END or OK line."""
    return line.split()[1]


def revision_of(line: str) -> int:
    return int(position_of(line).split("@")[0])


def fill(peer: Peer, count: int, name: str = "k", value: str = "v") -> None:
    for start in range(0, count, 1000):
        part = range(start, min(start + 1000, count))
        peer.send("".join(f"SET {name}{number} {value}\n" for number in part))
        assert all(line.startswith("OK") for line in peer.lines(len(part)))


def filled(daemon: Daemon, count: int, name: str = "k") -> str:
    """Set so many keys; the position then."""
    with daemon.connect() as peer:
        fill(peer, count, name)
        return position_of(peer.ask("UNWATCH"))


def resumed(daemon: Daemon, position: str) -> str:
    """What is answered to RESUME."""
    with daemon.connect() as peer:
        return peer.ask(f"RESUME {position}")


@contextmanager
def writing(daemon: Daemon, keys: int = 100) -> Iterator[None]:
    """Somebody writes all the time."""
    stopping = threading.Event()

    def write() -> None:
        with daemon.connect() as peer:
            number = 0
            while not stopping.is_set():
                requests = [f"SET busy{(number + i) % keys} {number + i}\n" for i in range(15)]
                peer.send("".join(requests) + f"DEL busy{number % keys}\n")
                peer.lines(16)
                number += 16

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def read_copy(peer: Peer) -> tuple[dict[str, tuple[int, str]], str]:
    """SYNC's items, applied in order; the copy and the position.  Each key's revisions must grow."""
    copy: dict[str, tuple[int, str]] = {}
    newest: dict[str, int] = {}
    while True:
        word, _, rest = peer.line().partition(" ")
        if word == "OK":
            return copy, rest
        revision, key, *value = rest.split(" ", 2)
        assert int(revision) > newest.get(key, -1)
        newest[key] = int(revision)
        if word == "GONE":
            copy.pop(key, None)
        else:
            assert word == "PAIR", (word, rest)
            copy[key] = (int(revision), value[0])


def replay(lines: list[str], upto: int) -> dict[str, tuple[int, str]]:
    """The store at a revision, out of a watch's lines from the beginning."""
    copy: dict[str, tuple[int, str]] = {}
    for line in lines:
        _, position, verb, key, *value = line.split(" ", 4)
        revision = int(position.split("@")[0])
        if revision > upto:
            break
        if verb == "SET":
            copy[key] = (revision, value[0])
        else:
            copy.pop(key)
    return copy


def take(peer: Peer, last: int) -> list[str]:
    """CHANGE lines up to a revision, which must come."""
    lines = [peer.line()]
    while revision_of(lines[-1]) < last:
        lines.append(peer.line())
    return lines


# ---- RESUME


def test_resume_gives_every_change_behind_a_position_and_goes_on(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        start = watcher.ask("WATCH")[3:]
        fill(peer, 2500)
        seen = watcher.lines(2500)
        for begin in (start, position_of(seen[0]), position_of(seen[1233]), position_of(seen[-1])):
            with daemon.connect() as back:
                assert back.ask(f"RESUME {begin}") == f"OK {begin}"
                first = revision_of(f"OK {begin}")
                assert [back.line() for _ in range(2500 - first)] == seen[first:]
        with daemon.connect() as back:
            assert back.ask(f"RESUME {position_of(seen[9])} k1* k7").startswith("OK")
            assert peer.ask("SET k7 new").startswith("OK")
            got = take(back, 2501)
        wanted = [line for line in seen[10:] if line.split()[3].startswith("k1") or line.split()[3] == "k7"]
        assert got[:-1] == wanted
        assert got[-1].endswith("SET k7 new")


def test_the_seam_between_history_and_live_is_exact_under_load(daemon: Daemon) -> None:
    """Watchers that go and come back at any moment see what one that stays sees."""
    with daemon.connect() as stays, writing(daemon):
        start = stays.ask("WATCH")[3:]
        first = revision_of(f"OK {start}") + 1
        seen: list[str] = []
        position = start
        for _ in range(60):
            with daemon.connect() as comes:
                assert comes.ask(f"RESUME {position}") == f"OK {position}"
                seen += comes.lines(97)
                position = position_of(seen[-1])
        assert stays.lines(len(seen)) == seen
        assert [revision_of(line) for line in seen] == list(range(first, first + len(seen)))


def test_resume_is_refused_at_once_where_it_cannot_be_exact(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--history-changes", "100")
    with daemon.connect() as peer:
        store = peer.ask("WATCH x")[5:]
        fill(peer, 1000)
        wait_for("the trim", lambda: oldest(peer) > 0)

        def names_its_floor() -> bool:
            """Unless there was another trim between the two."""
            floor = oldest(peer)
            said = peer.ask(f"RESUME {floor - 1}@{store}")
            assert said.startswith("ERR compacted ")
            return said.startswith(f"ERR compacted {floor}@{store} ")

        wait_for("the floor", names_its_floor)
        assert peer.ask(f"RESUME {1001}@{store}").startswith("ERR future ")
        assert peer.ask("RESUME 1000@elsewhere").startswith("ERR store ")
        assert peer.ask("RESUME 1000").startswith("ERR usage ")
        assert peer.ask(f"RESUME 01@{store}").startswith("ERR usage ")
        assert peer.ask("RESUME").startswith("ERR usage ")
        # The watch is as it was; its line may come before the reply, or after it.
        assert sorted([peer.ask("SET x still"), peer.line()]) == [
            f"CHANGE 1001@{store} SET x still",
            "OK 1001",
        ]
        wait_for("the floor", lambda: begins_at(peer, f"{oldest(peer)}@{store} x"))
        assert peer.line().endswith("SET x still")


def begins_at(peer: Peer, place: str) -> bool:
    return peer.ask(f"RESUME {place}").startswith(f"OK {place.split(' ')[0]}")


def oldest(peer: Peer) -> int:
    peer.send("INFO\n")
    lines = iter(peer.line, "OK")
    (found,) = [int(line.split()[2]) for line in lines if line.startswith("INFO oldest ")]
    return found


# ---- SYNC


def test_complaint_10_sync_of_nothing_answers_at_once(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert re.fullmatch(r"OK 0@\w+", peer.ask("SYNC nothing/* nor-this"))


@pytest.mark.slow
def test_a_copy_is_the_store_at_exactly_its_position_under_load(daemon: Daemon) -> None:
    with daemon.connect() as stays, daemon.connect() as peer:
        stays.ask("WATCH")
        fill(peer, 3000, "busy")
        seen = stays.lines(3000)
        with writing(daemon, keys=3000):
            for _ in range(15):
                with daemon.connect() as copier:
                    copier.send("SYNC\n")
                    copy, position = read_copy(copier)
                    later = copier.lines(50)
                here = revision_of(f"OK {position}")
                seen += take(stays, here + 50)
                assert copy == replay(seen, here)
                assert later == seen[here : here + 50]


def test_a_copy_of_several_patterns_has_each_key_once(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        for key in ("a1", "a2", "ab1", "b", "c", "d1"):
            assert peer.ask(f"SET {key} {key}").startswith("OK")
        peer.send("SYNC a* ab* a1 c d1 d1 nope\n")
        copy, _ = read_copy(peer)
        assert list(copy) == ["a1", "a2", "ab1", "c", "d1"]
        peer.send("SET b x\nSET ab1 y\n")
        assert sorted(line.split(" ", 2)[0] for line in peer.lines(3)) == ["CHANGE", "OK", "OK"]


def test_a_copy_comes_in_pages_and_does_not_grow_the_daemon(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as copier:
        fill(peer, 400, value="x" * 100_000)
        before = psutil.Process(daemon.pid).memory_info().rss
        copier.send("SYNC\n")
        wait_for("the first page", lambda: copier.socket.recv(1, 2))
        fill(peer, 100, "other")
        assert psutil.Process(daemon.pid).memory_info().rss < before + 16 * MEGABYTE
        copy, _ = read_copy(copier)
        assert len(copy) == 500


# ---- PROGRESS


def test_complaint_6_an_idle_watcher_of_a_quiet_prefix_resumes_from_its_progress(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--history-changes", "100")
    with daemon.connect() as peer, daemon.connect() as quiet:
        assert quiet.ask("PROGRESS 0.05") == "OK"
        assert quiet.ask("WATCH quiet/*").startswith("OK 0@")
        fill(peer, 2000)
        line = quiet.line()
        while revision_of(line) < 2000:
            assert line.startswith("PROGRESS ")
            line = quiet.line()
        wait_for("the trim", lambda: oldest(peer) > 1000)
        with daemon.connect() as back:
            assert back.ask(f"RESUME {position_of(line)} quiet/*").startswith("OK")
            assert peer.ask("SET quiet/1 x") == "OK 2001"
            assert back.line().startswith("CHANGE 2001@")


@pytest.mark.slow
def test_complaint_7_progress_never_overtakes_a_change(daemon: Daemon) -> None:
    with daemon.connect() as watcher, writing(daemon):
        watcher.ask("PROGRESS 0.001")
        watcher.ask("WATCH busy1*")
        newest = 0
        for line in watcher.lines(4000):
            if line.startswith("CHANGE"):
                assert revision_of(line) > newest
            else:
                assert revision_of(line) >= newest
            newest = revision_of(line)


def test_progress_can_be_ended(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        peer.ask("WATCH")
        assert peer.ask("PROGRESS 0.001") == "OK"
        assert peer.line().startswith("PROGRESS 0@")
        peer.send("PROGRESS 0\n")
        while peer.line() != "OK":
            pass
        assert [peer.ask(f"PING {number}") for number in range(50)] == [f"OK {number}" for number in range(50)]
        for wrong in ("PROGRESS", "PROGRESS -1", "PROGRESS 0.0001", "PROGRESS 1 2", "PROGRESS x"):
            assert peer.ask(wrong).startswith("ERR usage ")


# ---- slow watchers


@pytest.mark.slow
def test_complaint_5_a_slow_watcher_hurts_nobody_and_catches_up(daemon: Daemon) -> None:
    """One that does not read costs no more than its bound, delays nobody, and misses nothing."""
    with daemon.connect() as stalled, daemon.connect() as others, daemon.connect() as peer:
        stalled.ask("WATCH")
        others.ask("WATCH")
        fill(peer, 100, value="x" * 100_000)
        others.lines(100)
        before = psutil.Process(daemon.pid).memory_info().rss
        for number in range(3):
            fill(peer, 100, f"more{number}", "y" * 100_000)
            assert revision_of(others.lines(100)[-1]) == 200 + number * 100
        assert psutil.Process(daemon.pid).memory_info().rss < before + 24 * MEGABYTE
        assert [revision_of(line) for line in stalled.lines(400)] == list(range(1, 401))
        assert peer.ask("SET live 1") == "OK 401"
        assert stalled.line().endswith("SET live 1")


@pytest.mark.slow
def test_a_watcher_whose_place_is_gone_is_told_and_can_begin_anew(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--history-changes", "20")
    with daemon.connect() as stalled, daemon.connect() as peer:
        store = stalled.ask("WATCH")[5:]
        for number in range(4):
            fill(peer, 100, f"more{number}", "y" * 200_000)
        wait_for("the trim", lambda: oldest(peer) >= 370)
        line = stalled.line()
        count = 0
        while line.startswith("CHANGE "):
            count += 1
            assert revision_of(line) == count
            line = stalled.line()
        assert line.startswith(f"END {count}@{store} compacted ")
        # The store's position, not that of the watch that has ended.
        assert stalled.ask("UNWATCH") == f"OK 400@{store}"
        stalled.send("SYNC\n")
        copy, _ = read_copy(stalled)
        assert len(copy) == 400


# ---- histories that were replaced


@pytest.mark.slow
def test_complaint_9_a_restored_backup_is_another_store_never_a_silent_mixture(daemon: Daemon, tmp_path: Path) -> None:
    backup = filled(daemon, 10)
    daemon.stop()
    shutil.copytree(daemon.data, tmp_path / "backup")
    daemon.start()
    with daemon.connect() as peer, daemon.connect() as watcher:
        assert watcher.ask(f"RESUME {backup}") == f"OK {backup}"
        fill(peer, 10, "later")
        lost = watcher.lines(10)
    daemon.stop()
    shutil.rmtree(daemon.data)
    shutil.copytree(tmp_path / "backup", daemon.data)
    daemon.start()
    wait_for("the warning", lambda: "it is a copy" in daemon.log)
    with daemon.connect() as peer:
        assert peer.ask(f"RESUME {position_of(lost[-1])}").startswith("ERR store ")
        assert peer.ask(f"RESUME {backup}").startswith("ERR store ")
        assert peer.ask("GETS k3") == "OK 4 v"
        assert peer.ask("SET k3 new") == "OK 8000000001"
        assert peer.ask(f"PUT k3 if={position_of(lost[-1])} = x") == "CONFLICT 8000000001"


def test_a_clean_or_a_killed_end_keeps_the_history(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        position = peer.ask("UNWATCH")[3:]
        fill(peer, 10)
    daemon.stop()
    daemon.start()
    daemon.kill()
    daemon.wait()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask(f"RESUME {position}") == f"OK {position}"
        assert len(peer.lines(10)) == 10


def test_an_external_store_that_comes_back_older_ends_the_watches(
    start_daemon: StartDaemon, redis: Redis, tmp_path: Path
) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as watcher:
        store = watcher.ask("WATCH")[5:]
        fill(peer, 5)
        data, old = redis.directory / "appendonlydir", tmp_path / "old"
        shutil.copytree(data, old)
        fill(peer, 5)
        assert len(watcher.lines(10)) == 10
        redis.kill()
        shutil.rmtree(data)
        shutil.copytree(old, data)
        redis.start()
        assert watcher.line().startswith(f"END 10@{store} store ")
        wait_for("the store", lambda: peer.ask("SET after 1").startswith("OK"))
        assert int(peer.ask("SET after 2").split()[1]) > 4 * 10**9
        assert peer.ask(f"RESUME 4@{store}").startswith("ERR store ")
        fresh = watcher.ask("WATCH")[3:].split("@")[1]
        assert fresh != store


# ---- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    needs("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_with_what_was_overwritten_is_made_room_on(
    start_daemon: StartDaemon, small_disk: Path
) -> None:
    """The append-only file grows with every write, until Redis writes it anew."""
    daemon = start_daemon("--history-bytes", "1MiB", data=small_disk / "data")
    request = f"SET same {'x' * 50_000}"
    with daemon.connect() as peer:
        for _ in range(2):
            while peer.ask(request).startswith("OK"):
                pass
            wait_for("room", lambda: peer.ask(request).startswith("OK"))
        assert peer.ask("COUNT") == "OK 1"


@pytest.mark.slow
def test_a_full_disk_refuses_writes_and_serves_the_rest_until_there_is_room(
    start_daemon: StartDaemon, small_disk: Path
) -> None:
    daemon = start_daemon(data=small_disk / "data")
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH")
        acknowledged = []
        number = 0
        reply = ""
        while not reply.startswith("ERR"):
            reply = peer.ask(f"SET k{number} {'x' * 50_000}")
            acknowledged += [f"k{number}"] if reply.startswith("OK") else []
            number += 1
        assert reply.startswith("ERR unavailable the store's disk is nearly full")
        assert len(acknowledged) > 100
        assert peer.ask("DEL k0").startswith("OK")
        assert peer.ask("GET k1") == f"OK {'x' * 50_000}"
        assert len(watcher.lines(len(acknowledged) + 1)) == len(acknowledged) + 1

        filler = small_disk / "filler"
        with filler.open("wb") as file:
            subprocess.run(["dd", "if=/dev/zero", "bs=64k"], stdout=file, stderr=subprocess.DEVNULL, check=False)
        assert peer.ask("DEL k1").startswith("ERR unavailable ")
        assert peer.ask("COUNT") == f"OK {len(acknowledged) - 1}"
        daemon.kill()
        daemon.wait()
        daemon.start()
        with daemon.connect() as again:
            assert again.ask("GET k1") == f"OK {'x' * 50_000}"
            assert again.ask("SET new 1").startswith("ERR unavailable ")
            filler.unlink()
            wait_for("room", lambda: again.ask("DEL k2").startswith("OK"))
            assert again.ask("COUNT") == f"OK {len(acknowledged) - 2}"


@pytest.mark.slow
def test_an_append_only_file_that_was_put_back_is_another_history(daemon: Daemon) -> None:
    filled(daemon, 10)
    daemon.stop()
    aof = daemon.append_only_file
    backup = aof.read_bytes()
    daemon.start()
    position = filled(daemon, 10, "later")
    daemon.stop()
    aof.write_bytes(backup)
    daemon.start()
    assert resumed(daemon, position).startswith("ERR store ")


def test_a_history_that_was_repaired_by_hand_is_another_one(daemon: Daemon) -> None:
    position = filled(daemon, 3000)
    daemon.crash()
    aof = daemon.append_only_file
    whole = aof.read_bytes()
    aof.write_bytes(whole[: len(whole) // 2].rpartition(b"*")[0] + b"#" + whole[len(whole) // 2 :])
    with pytest.raises(AssertionError, match="is damaged, and not as a crash leaves it"):
        daemon.start()
    aof.write_bytes(whole[: whole.rindex(b"*1\r\n$5\r\nMULTI")])
    daemon.start()
    assert resumed(daemon, position).startswith("ERR store ")


def test_an_owner_who_touches_the_directory_does_not_make_it_another_history(daemon: Daemon) -> None:
    position = filled(daemon, 10)
    daemon.stop()
    for path in daemon.data.iterdir():
        os.chown(path, os.getuid(), os.getgid())
        path.chmod(path.stat().st_mode)
    daemon.start()
    assert resumed(daemon, position) == f"OK {position}"


@pytest.mark.slow
def test_many_stalled_watchers_cost_their_bound_each_also_after_a_jam(start_daemon: StartDaemon, redis: Redis) -> None:
    """A daemon that was stopped for a while finds much at once, and none of it may wait for stalled watchers."""
    jammed, other = start_daemon("--store", redis.unix_url), start_daemon("--store", redis.unix_url)
    with ExitStack() as stack:
        stalled = [stack.enter_context(jammed.connect()) for _ in range(30)]
        for peer in stalled:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert peer.ask("WATCH").startswith("OK ")
        live = stack.enter_context(jammed.connect())
        live.ask("WATCH end")
        writer = stack.enter_context(other.connect())
        fill(writer, 10, value="x" * 1_000_000)
        before = psutil.Process(jammed.pid).memory_info().rss
        jammed.kill(signal.SIGSTOP)
        fill(writer, 16, value="y" * 1_000_000)
        jammed.kill(signal.SIGCONT)
        writer.ask("SET end 1")
        assert live.line().endswith("SET end 1")
        # A line of a megabyte each, and what the hub keeps.
        assert psutil.Process(jammed.pid).memory_info().rss < before + (30 * 2 + 24) * MEGABYTE


def test_hundreds_of_watchers_are_not_held_up_by_one(daemon: Daemon) -> None:
    with ExitStack() as stack:
        stalled, *others = [stack.enter_context(daemon.connect()) for _ in range(301)]
        for peer in (stalled, *others):
            peer.send("WATCH k*\n")
        for peer in (stalled, *others):
            assert peer.line().startswith("OK ")
        writer = stack.enter_context(daemon.connect())
        fill(writer, 20, value="x" * 50_000)
        for peer in others:
            assert [revision_of(line) for line in peer.lines(20)] == list(range(1, 21))
        assert [revision_of(line) for line in stalled.lines(20)] == list(range(1, 21))


@pytest.mark.slow
def test_a_large_store_is_copied_exactly_under_load(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as stays:
        fill(peer, 50_000, "some")
        before = psutil.Process(daemon.pid).memory_info().rss
        start = revision_of(stays.ask("WATCH"))
        with writing(daemon, keys=5000), daemon.connect() as copier:
            copier.send("SYNC\n")
            copy, position = read_copy(copier)
        here = revision_of(f"OK {position}")
        wanted = {f"some{number}": (number + 1, "v") for number in range(50_000)}
        seen = take(stays, here) if here > start else []
        assert copy == wanted | replay([line for line in seen if revision_of(line) <= here], here)
        assert psutil.Process(daemon.pid).memory_info().rss < before + 48 * MEGABYTE


def test_a_store_that_synced_every_second_and_ended_badly_is_another_history(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "everysec")
    position = filled(daemon, 10)
    daemon.stop()
    daemon.start()
    assert resumed(daemon, position) == f"OK {position}"
    daemon.kill()
    daemon.wait()
    daemon.start()
    assert resumed(daemon, position).startswith("ERR store ")
