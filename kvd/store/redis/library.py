"""redis-py, which opens connections to a store that is given by its URL, with TLS and passwords.

It is imported only where there is such a store, for that takes a third of a daemon's start.
"""

import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, InvalidResponse, RedisError, ResponseError

from kvd.errors import StartError, StoreLost, StoreUnusable, Superseded
from kvd.store.redis.connection import Rejected, lost_by

_LASTING = (AuthenticationError, AuthorizationError, InvalidResponse, ssl.SSLCertVerificationError)
"""Errors of a connection that time does not mend: a wrong password, another protocol, another certificate."""


class Library:
    """An `Opener` for the Redis of a URL."""

    def __init__(self, url: str, timeout: float) -> None:
        """url: str, redis://, rediss:// or unix://.  timeout: seconds.  Raises StartError if it is not one."""
        options: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
        try:
            # Retries are off: a script that timed out was seen to run nine times.  No timeout on replies: it
            # would wrap every call; callers watch the time instead.
            self._pool: ConnectionPool = ConnectionPool.from_url(
                url, protocol=2, socket_timeout=None, socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0), client_name="kvd", **options,
            )  # fmt: skip
            if "path" in self._pool.connection_kwargs:
                # It takes the bytes of a path for UTF-8, which they need not be.
                self._pool.connection_kwargs["path"] = unquote(urlsplit(url).path, errors="surrogateescape")
            self.make()
        except (ValueError, TypeError) as error:
            # The latter is what Python says of an argument that is not known.
            wrong = error if isinstance(error, ValueError) else "what follows its '?' is not known"
            raise StartError(
                f"not the URL of a Redis: {wrong}; expected redis://[user:password@]host:port/db, "
                "rediss://... or unix:///path/to/socket"
            ) from None

    def make(self) -> AbstractConnection:
        """See `Opener`."""
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return made

    def why(self, error: BaseException) -> StoreLost | Superseded | None:
        """See `Opener`."""
        if isinstance(error, ResponseError):
            error = Rejected(str(error))
        if isinstance(error, Rejected):
            return lost_by(error)
        # RuntimeError: uvloop's word for a transport that was closed a moment ago.
        if not isinstance(error, RedisError | OSError | RuntimeError):
            return None
        # redis-py wraps some.
        cause: BaseException | None = error
        while cause and not isinstance(cause, _LASTING):
            cause = cause.__cause__ or cause.__context__
        return (StoreUnusable if cause else StoreLost)(str(error))
