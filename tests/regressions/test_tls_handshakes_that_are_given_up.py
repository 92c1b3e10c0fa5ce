"""With `--store rediss+sentinel://` on a busy machine, a log had dozens of tracebacks of uvloop at `error`.

They were of TLS connections that the daemon itself had closed, within or after the handshake; and the log said in a
line of its own what was the matter with the store.
"""

import asyncio
import logging
import ssl

import pytest

from kvd.process.service import run


class _Giving:
    """A service that gives a handshake up, and has another error that nobody takes."""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        closed, _ = await loop.create_connection(asyncio.Protocol, *await self._listening())
        closed.abort()
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError) as refused:
            closed.write(b"what a handshake would send")
        loop.call_exception_handler({"message": "Fatal error on SSL protocol", "exception": refused.value})
        for error in (ssl.SSLError("another"), RuntimeError("of ours")):
            loop.call_exception_handler({"message": "Fatal error on SSL protocol", "exception": error})

    async def _listening(self) -> tuple[str, int]:
        self.server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        return host, port

    async def run(self) -> None:
        """There is nothing more to do."""

    async def drain(self) -> None:
        """Nothing is in flight."""

    async def close(self) -> None:
        self.server.close()


def test_they_are_no_errors_and_all_others_are(caplog: pytest.LogCaptureFixture) -> None:
    run(_Giving(), lambda: None, ())
    errors = [
        str(record.exc_info[1]) for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info
    ]
    assert len(errors) == 2, errors
    assert "another" in errors[0]
    assert errors[1] == "of ours"
