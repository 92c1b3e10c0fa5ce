"""From paths to what answers them."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from kvd.errors import KvdError
from kvd.http import clients, exposition, hosts, page
from kvd.http.keys import Keys
from kvd.http.messages import HttpError, Request, Response, line
from kvd.http.visitor import Visitor
from kvd.measuring import Measuring
from kvd.session.context import Context

KEYS, WATCH = "/v1/keys", "/v1/watch"
READY_TIME = 2.0
"""Seconds that the store has to answer a probe."""
Answer = Callable[[Request, Visitor], Awaitable[Response]]
READ = ("GET", "HEAD")


class Routes:
    """Those of one process."""

    def __init__(self, context: Context, measuring: Measuring, *, may_write: bool, names: frozenset[str]) -> None:
        """may_write: whether --http-write was given.  names: of hosts, as of `hosts.check`."""
        self.context = context
        self._measuring = measuring
        self._names = names
        self._keys = Keys(context, may_write=may_write)
        self.is_stopping = False
        self._paths: dict[str, Answer] = {
            "/": self._page, "/metrics": self._metrics, "/healthz": self._health, "/readyz": self._ready,
            KEYS: self._keys.page, "/v1/clients": self._clients,
        }  # fmt: skip

    def check(self, request: Request, *, is_local: bool) -> None:
        """Whether a request may be answered at all, for any user.  Raises HttpError.

        is_local: whether it came to an address of this machine alone.
        """
        hosts.check(request, self._names if is_local else None)

    def wants_events(self, request: Request) -> bool:
        """Whether it is for a watch."""
        return request.path == WATCH and request.method == "GET"

    async def answer(self, request: Request, visitor: Visitor) -> Response:
        """Any other request of one who was let in.  Raises HttpError, refusals."""
        if request.path.startswith(KEYS + "/"):
            _allow(request, *READ, "PUT", "DELETE")
            return await self._keys.one(request, visitor, request.path.removeprefix(KEYS + "/"))
        _allow(request, *(["GET"] if request.path == WATCH else READ))
        answer = self._paths.get(request.path)
        if answer is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "there is nothing here; docs/http.md has what there is")
        return await answer(request, visitor)

    async def let_in(self, request: Request, visitor: Visitor) -> None:
        """Find out who asks.  Raises NotAuthenticated, LimitReached."""
        # Probes come without a password, and must not be slowed down by those who try some.
        if request.path not in ("/healthz", "/readyz"):
            await visitor.come(request.headers.get("authorization", ""))

    async def _page(self, request: Request, visitor: Visitor) -> Response:
        request.only()
        # So that a browser asks for a password here, and sends it from then on.
        visitor.require_known()
        return page.response()

    async def _metrics(self, request: Request, visitor: Visitor) -> Response:
        visitor.require_known()
        return exposition.expose(await self._measuring.all(), request.headers.get("accept", ""))

    async def _clients(self, request: Request, visitor: Visitor) -> Response:
        return await clients.page(self.context, request, visitor)

    async def _health(self, _: Request, __: Visitor) -> Response:
        return line("ok")

    async def _ready(self, _: Request, __: Visitor) -> Response:
        """Whether the store answers, with the history that it keeps."""
        if self.is_stopping:
            return line("the daemon stops", HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            async with asyncio.timeout(READY_TIME):
                await self.context.store.history()
        except (KvdError, TimeoutError):
            return line("the store does not answer", HTTPStatus.SERVICE_UNAVAILABLE)
        return line("ok")


def _allow(request: Request, *methods: str) -> None:
    """Raises HttpError."""
    if request.method not in methods:
        allowed = ", ".join(methods)
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {allowed}", {"Allow": allowed})
