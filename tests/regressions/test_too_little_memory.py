"""A share of memory that is too little to begin with is refused, with the least that will do.

Reported: --max-memory 1 ended in "cannot reach the store: OOM its memory is full".
"""

import pytest

from kvd.errors import StartError
from kvd.settings import read


@pytest.mark.parametrize("given", ["1", "100KiB", "1048575", "1023 KiB"])
def test_the_store_needs_some(given: str) -> None:
    expected = "is too little: expected at least 1 MiB, which the store takes before it holds anything, or 0 for no"
    with pytest.raises(StartError, match=f"--max-memory: '{given}' {expected}"):
        read({"--max-memory": given}, {})
    with pytest.raises(StartError, match=f"KVD_MAX_MEMORY: '{given}' {expected}"):
        read({}, {"KVD_MAX_MEMORY": given})


def test_so_do_connections() -> None:
    with pytest.raises(StartError, match="--connection-memory: '1' is too little: expected at least 64 KiB, so that"):
        read({"--connection-memory": "1"}, {})


def test_the_least_will_do() -> None:
    settings = read({"--max-memory": "1MiB", "--connection-memory": "64KiB"}, {})
    assert (settings.max_memory, settings.connection_memory) == (1 << 20, 1 << 16)
    assert read({"--max-memory": "0", "--connection-memory": "0"}, {}).max_memory == 0
