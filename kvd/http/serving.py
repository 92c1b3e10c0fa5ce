"""HTTP in one process: a connection for each who comes."""

import asyncio
from collections.abc import Callable
from functools import partial

from kvd.addresses import Address, AnyAddress, is_loopback
from kvd.errors import Refusal
from kvd.http import messages
from kvd.http.connection import HttpConnection
from kvd.http.routes import Routes
from kvd.service import Service
from kvd.settings import Settings


class Serving:
    """Of one process."""

    def __init__(self, service: Service, settings: Settings) -> None:
        names = frozenset(address.host.lower() for address in settings.http if isinstance(address, Address))
        self._routes = Routes(service.context, service.measuring, may_write=settings.http_write, names=names)

    def opener(self, address: AnyAddress) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], HttpConnection]:
        """Makes the connections of an address."""
        # Nobody's browser comes to a unix socket.
        is_local = isinstance(address, Address) and is_loopback(address)
        return partial(HttpConnection, self._routes, is_local=is_local)

    def stop(self) -> None:
        """The daemon stops: nobody else is to come here."""
        self._routes.is_stopping = True


def refusal(error: Refusal) -> bytes:
    """The answer to one who is not let in, whatever is asked."""
    response = messages.refused(error)
    headers = response.all_headers() | {"Content-Length": f"{len(response.body)}", "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {response.status} {response.status.phrase}\r\n{head}\r\n".encode() + response.body
