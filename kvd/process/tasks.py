"""Tasks that run together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from kvd.errors import Superseded


async def run_together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until they are done, or one fails: then the others are cancelled.

    Raises Superseded as it is, whichever of them raised it, and anything else in a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as failed:
        if superseded := _first(failed):
            raise superseded from None
        raise


def _first(group: BaseExceptionGroup) -> Superseded | None:
    """The first of these errors in a group, or in groups in it."""
    for error in group.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, Superseded):
            return found
    return None
