"""What the engine's log says of a file that it does not read, however much of the file is in it."""

import subprocess

from kvd.embedded.engine_log import KEPT_LINES, EngineLog

BEGINS = "7:M 27 Nov 2026 13:00:00.000 # "


async def said(*lines: str) -> EngineLog:
    """The log of an engine that wrote this and ended."""
    log = EngineLog(lambda _: None)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        log.follow(process)
        assert process.stdin
        process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        process.stdin.close()
        assert not await log.wait_until_ready()
        await log.close()
    return log


async def test_a_command_of_another_is_told_by_name() -> None:
    log = await said(f"{BEGINS}Unknown command 'FT.CREATE' reading the append only file")
    assert log.says_bad_file
    assert log.foreign_command == "FT.CREATE"


async def test_a_part_of_the_file_that_was_taken_for_a_command_tells_nothing_but_that() -> None:
    """A length that was too long: the engine logs what it took for a command, and cuts that line after 1 KiB."""
    rest = ["$4", "HSET"] * KEPT_LINES
    log = await said(f"{BEGINS}Unknown command 'HSET", *rest, "$6", "revis")
    assert log.says_bad_file
    assert not log.foreign_command
    assert not log.says_it_crashed
    assert not log.says_bad_snapshot


async def test_of_a_crash_the_first_line_is_told() -> None:
    told = "=== REDIS BUG REPORT START ===", *["a line of its memory"] * 2 * KEPT_LINES
    log = await said(f"{BEGINS}Redis 7.0.15 crashed by signal: 11", *told)
    assert log.says_it_crashed
    assert log.last_error == "Redis 7.0.15 crashed by signal: 11"
