"""Calls that may wait for ever, in threads that keep neither the event loop nor the program from ending.

Those of the loop's own executor would: it waits for them at its end.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


async def detached(call: Callable[[], Result]) -> Result:
    """Return what a call returns, or raise what it raises; if this is cancelled, it goes on, and nobody hears of it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not done.done():
            set_outcome(outcome)

    def work() -> None:
        try:
            told: tuple[Callable[[Any], None], object] = done.set_result, call()
        except Exception as error:
            told = done.set_exception, error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, *told)

    threading.Thread(target=work, daemon=True).start()
    return await done
