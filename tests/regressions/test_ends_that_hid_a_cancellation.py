"""Found: who closed a replica's log, or a witness, and was cancelled meanwhile, went on.

So a daemon that was to stop just then followed the log for ever.
"""

import asyncio
from typing import Any

import pytest

from kvd.store.replicated import logs
from kvd.store.replicated.logs import ReplicaLogConnection, unconfirmed
from kvd.store.replicated.witness import Witness


class Closable:
    """Stands for a connection, or a log."""

    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


async def is_cancelled_amid(close: Any) -> None:
    """Cancel who waits for the end of a task of what is closed."""
    closing = asyncio.create_task(close())
    await asyncio.sleep(0)  # it waits
    assert not closing.done()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_of_a_replicas_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOOK", 3600)
    parts: list[Any] = [Closable(), Closable()]
    connection, primary = parts
    log = ReplicaLogConnection(
        connection, lambda: True, lambda _: None, lambda _: True, primary, connection, [], unconfirmed
    )
    await asyncio.sleep(0)  # it watches the replica
    await is_cancelled_amid(log.close)
    assert all(part.is_closed for part in parts)


async def test_of_a_witness() -> None:
    witness = Witness("redis://127.0.0.1:1")
    witness.wake()
    await witness.tried()
    await is_cancelled_amid(witness.close)
