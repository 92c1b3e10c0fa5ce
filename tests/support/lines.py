"""What a process writes to a pipe, read as it comes."""

import os
import select
import threading
from typing import IO

_PIECE = 1 << 16
"""Bytes that a pipe gives at once."""


class Lines:
    """All that came, of one process after another.  A thread takes it, so that no writer waits.

    To ask takes what is there as well: what was written before is seen, though the thread was not run meanwhile.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._source: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None

    @property
    def text(self) -> str:
        """Whole lines; all, when the writer has ended."""
        self._take()
        with self._lock:
            return bytes(self._data[: self._data.rfind(b"\n") + 1] if self._source else self._data).decode()

    def read(self, source: IO[bytes]) -> None:
        """Take what comes from here."""
        os.set_blocking(source.fileno(), False)
        self._source = source
        self._reader = threading.Thread(target=self._read, args=[source.fileno()])
        self._reader.start()

    def join(self, timeout: float) -> None:
        """Wait until there is an end, and nothing is read any more."""
        assert self._reader
        self._reader.join(timeout)
        with self._lock:
            self._source = None

    def _read(self, descriptor: int) -> None:
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        while self._source:
            ready.poll()
            self._take()

    def _take(self) -> None:
        with self._lock:
            try:
                while self._source and (data := os.read(self._source.fileno(), _PIECE)):
                    self._data += data
                self._source = None
            except BlockingIOError:
                pass
