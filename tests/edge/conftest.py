"""A Redis for one new store after another."""

import pytest

from tests.support.processes import Redis


@pytest.fixture
def store_url(redis_of_all: Redis) -> str:
    """Of an empty one."""
    redis_of_all.cli("FLUSHALL")
    return redis_of_all.unix_url
