"""/v1/clients: who is connected, and what they watch, as CLIENTS has it."""

from typing import Any
from urllib.parse import unquote

from kvd.errors import Usage
from kvd.http.messages import Request, Response, as_json
from kvd.http.visitor import Visitor
from kvd.requests import ClientRange
from kvd.session.clients import PAGE
from kvd.session.context import Context
from kvd.wire import words

NUMBERS = ("since", "requests", "held", "patterns")


async def page(context: Context, request: Request, visitor: Visitor) -> Response:
    """GET /v1/clients: a page.  Raises refusals."""
    request.only("after")
    after = request.one("after")
    try:
        wanted = ClientRange(words.client(after.encode()) if after else None, PAGE)
    except Usage:
        raise Usage("after= is the id of a connection, as the page before gave it") from None
    visitor.permit("CLIENTS", wanted)
    visitor.guard.administer("CLIENTS")
    found = await context.clients.page(wanted)
    visitor.permit("CLIENTS", wanted)
    more = {"after": bytes(found[-1][0]).decode()} if len(found) == PAGE else {}
    return as_json({"clients": [_facts(text.decode()) for _, text in found]} | more)


def _facts(text: str) -> dict[str, Any]:
    name, *fields = text.split(" ")
    facts: dict[str, Any] = {"id": name, "watches": []}
    for field in fields:
        what, _, said = field.partition("=")
        if what == "watch":
            facts["watches"].append(unquote(said))
        else:
            facts[what] = int(said) if what in NUMBERS else "" if said == "-" else unquote(said)
    return facts
