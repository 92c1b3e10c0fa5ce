"""A Redis for one new store after another."""

from collections.abc import Iterator

import pytest

from tests.support.processes import Redis, needs


@pytest.fixture(scope="module")
def redis_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """Empty at the first use; who needs it empty empties it."""
    needs("redis-server")
    server = Redis(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store_url(redis_of_all: Redis) -> str:
    """Of an empty one."""
    redis_of_all.cli("FLUSHALL")
    return redis_of_all.unix_url
