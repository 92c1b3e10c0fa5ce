"""The plan of memory, and what there is of it: control groups of both versions, the machine, limits of the process."""

from pathlib import Path

import pytest

from kvd.memory import Available, MemoryPlan
from kvd.process import machine
from kvd.settings import MIB, read

# ---- the plan


def test_the_shares_of_what_there_is() -> None:
    plan = read({}, {}, Available(1000 * MIB, "test")).memory
    assert (plan.store, plan.connections, plan.caches) == (500 * MIB, 150 * MIB, 150 * MIB)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("20MiB", 20 * MIB), ("900GiB", 900 * 1024 * MIB)])
def test_the_store_gets_what_is_said(text: str, size: int) -> None:
    assert read({"--max-memory": text}, {}, Available(1000 * MIB)).memory.store == size
    assert read({}, {"KVD_MAX_MEMORY": text}, Available(1000 * MIB)).memory.store == size


def test_connections_get_what_is_said_and_each_process_its_part() -> None:
    for text, size in (("0", 0), ("20MiB", 20 * MIB)):
        for available in (Available(), Available(1000 * MIB)):
            plan = read({"--connection-memory": text}, {}, available).memory
            assert (plan.connections, plan.held_by_each(1), plan.held_by_each(4)) == (size, size, size // 4)
    assert read({}, {}, Available(1000 * MIB)).memory.held_by_each(2) == 75 * MIB
    # Where nobody knows how much there is.
    assert read({}, {}).memory.held_by_each(2) == 0


def test_the_read_caches_of_all_workers_fit_into_their_share() -> None:
    for size in (100, 1000, 100_000):
        for workers in (1, 2, 64):
            settings = read({"--workers": str(workers)}, {}, Available(size * MIB))
            assert settings.read_cache * workers <= size * MIB * 15 // 100
            assert settings.read_cache <= 64 * MIB
    assert read({"--read-cache": "64MiB", "--workers": "64"}, {}, Available(100 * MIB)).read_cache == 64 * MIB


def test_a_store_above_its_share_may_not_take_what_there_is_not() -> None:
    plan = MemoryPlan.of(Available(100 * MIB))
    assert plan.limit(50 * MIB) == plan.limit(10) == 50 * MIB
    assert plan.limit(56 * MIB) == 70 * MIB
    assert plan.limit(70 * MIB) == 75 * MIB
    assert plan.limit(90 * MIB) == 90 * MIB
    assert MemoryPlan().limit(90 * MIB) == 0


def test_more_than_there_is_is_warned_of() -> None:
    group, process = Available(300 * MIB, "a group"), Available(300 * MIB, "RLIMIT_DATA", each=True)
    assert MemoryPlan.of(process).store == 150 * MIB
    assert (
        MemoryPlan.of(process, 150 * MIB).warning
        == MemoryPlan.of(group).warning
        == MemoryPlan.of(group, 0).warning
        == ""
    )
    assert MemoryPlan.of(process, 290 * MIB).store == (300 - 48) * MIB * 70 // 100
    assert MemoryPlan.of(process, 290 * MIB).warning.endswith("(RLIMIT_DATA): the store gets 176.4 MiB")
    assert MemoryPlan.of(group, 290 * MIB).store == 290 * MIB
    assert MemoryPlan.of(group, 290 * MIB).warning.endswith("it may be killed")
    assert MemoryPlan.of(process, 0).store == 0


# ---- what there is


def given(proc: Path, **files: str) -> Path:
    """A /proc with some files, of a machine with 8 GiB."""
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal:        8388608 kB\nMemFree:  1 kB\n")
    for name, text in files.items():
        (proc / "self" / name).write_text(text)
    return proc


def group(directory: Path, **limits: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in limits.items():
        (directory / name.replace("_", ".", 1)).write_text(text + "\n")
    return directory


def test_the_least_limit_of_all_groups_above_counts(tmp_path: Path) -> None:
    top = tmp_path / "cgroup with space"
    group(top / "a" / "b" / "c", memory_max="max", memory_high="max")
    group(top / "a" / "b", memory_max=str(700 * MIB))
    group(top / "a", memory_max=str(600 * MIB))
    mounts = f"24 30 0:22 / {tmp_path}/cgroup\\040with\\040space rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    proc = given(tmp_path / "proc", cgroup="0::/a/b/c\n", mountinfo=mounts)
    assert machine.available(proc)[:2] == (600 * MIB, "memory.max of its control group")
    group(top / "a" / "b", memory_high=str(500 * MIB))
    assert machine.available(proc).size == 500 * MIB


def test_the_first_version_of_groups_counts_beside_the_second(tmp_path: Path) -> None:
    group(tmp_path / "memory" / "x", memory_limit_in_bytes=str(400 * MIB))
    group(tmp_path / "memory", memory_limit_in_bytes="9223372036854771712")
    group(tmp_path / "cpu" / "x", memory_limit_in_bytes="1")
    mounts = (
        f"35 31 0:32 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
        f"36 31 0:33 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu\n"
        f"37 31 0:34 / {tmp_path}/unified rw - cgroup2 cgroup2 rw\n"
    )
    proc = given(tmp_path / "proc", cgroup="4:cpu:/x\n5:hugetlb,memory:/x\n0::/\n", mountinfo=mounts)
    assert machine.available(proc).size == 400 * MIB


@pytest.mark.parametrize("path", ["/docker/id", "/docker/id/sub", "/", "/../other"])
def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path, path: str) -> None:
    group(tmp_path / "top", memory_max=str(300 * MIB))
    root = "/" if path in ("/", "/../other") else "/docker/id"
    mounts = f"24 30 0:22 {root} {tmp_path}/top ro - cgroup2 cgroup rw\n"
    proc = given(tmp_path / "proc", cgroup=f"0::{path}\n", mountinfo=mounts)
    assert machine.available(proc).size == 300 * MIB


def test_a_machine_that_tells_nothing_of_groups(tmp_path: Path) -> None:
    assert machine.available(tmp_path).size > 0
    proc = given(tmp_path / "proc", cgroup="nonsense\n\n0::\n", mountinfo="1 2\n - cgroup2\n")
    assert machine.available(proc).by == "the machine"
