"""A store in which another program has written to kvd's own keys is refused in one line that says where and which.

Seen with kvd: after a kill it was `WRONGTYPE Operation against a key holding the wrong kind of value`, of no directory;
and a key of kvd's with a time to live, set by another program, took the whole store along when that was over.
"""

import pytest

from tests.support.checking import check, commands
from tests.support.daemons import fill, one_line_error, run_kvd
from tests.support.processes import Daemon, Redis, StartDaemon

FOREIGN = {
    "data": "RPUSH {{kvd}}:{} x", "big": "SADD {{kvd}}:{} x", "index": "HSET {{kvd}}:{} f x", "ttl": "SET {{kvd}}:{} x",
    "log": "ZADD {{kvd}}:{} 1 x", "meta": "SET {{kvd}}:{} x", "replaced": "RPUSH {{kvd}}:{} x",
    "owned": "HSET {{kvd}}:{} f x",
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_key_of_another_type_is_named_with_its_directory(daemon: Daemon, name: str) -> None:
    fill(daemon, 5)
    daemon.crash()
    with daemon.append_only_file.open("ab") as file:
        file.write(commands(f"DEL {{kvd}}:{name}", FOREIGN[name].format(name)))
    message = one_line_error(run_kvd("--data", str(daemon.data)))
    assert message.startswith(f"kvd: {daemon.data}: ")
    assert f"{{kvd}}:{name} is a " in message
    assert "another program has written to it; restore a backup" in message
    for word in ("WRONGTYPE", "FOREIGN"):
        assert word not in message
    told = check(daemon.data)
    assert told.returncode == 1
    assert f"{{kvd}}:{name} is a " in told.stderr


def test_a_key_that_another_program_lets_expire_is_told_before_it_is_gone(
    redis: Redis, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    fill(daemon, 5)
    daemon.stop()
    for name in ("data", "meta", "log"):
        assert redis.cli("EXPIRE", f"{{kvd}}:{name}", "1000") == "1"
        message = one_line_error(run_kvd("--store", redis.unix_url))
        assert f"{{kvd}}:{name} is about to expire" in message
        assert redis.cli("PERSIST", message.partition('PERSIST "')[2].partition('"')[0]) == "1"
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"
