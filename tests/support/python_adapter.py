"""The adapter of both faces of the Python library, for the kit that certifies clients: `asyncio` or `threads`."""

import asyncio
import base64
import json
import sys
from typing import Any

from kvd import client
from kvd.client import Conflict, Copy, Event, sync
from kvd.errors import KvdError, Refusal

RECONNECT = 5.0
"""Seconds, more than any rule takes."""


def say(**members: object) -> None:
    print(json.dumps(members), flush=True)  # noqa: T201  # this is what an adapter is for


def encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def words_of(request: dict[str, str]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the call that does a request."""
    value = base64.b64decode(request["value64"]) if "value64" in request else request.get("value")
    options: dict[str, Any] = {"ttl": float(request["ttl"])} if "ttl" in request else {}
    if "if" in request:
        options["if_revision"] = str(request["if"])
    return [request["key"], *([] if value is None else [value])], options


CALLS = {"get": "get", "set": "set", "put": "set", "del": "delete"}


def tell(change: Event | Copy) -> None:
    if isinstance(change, Event):
        value = {} if change.value is None else {"value64": encoded(change.value)}
        say(event=change.verb.lower(), position=change.position, key=change.key, **value)
        return
    say(event="copy")
    for item in change.items.values():
        say(event="pair", key=item.key, value64=encoded(item.value))
    say(event="copied", position=change.position)


def complain(error: KvdError, **members: str) -> None:
    if isinstance(error, Conflict):
        say(conflict=error.revision)
        return
    code = error.word if isinstance(error, Refusal) else "unavailable"
    say(error=code, **members, **({} if error.retry is None else {"retry": str(error.retry)}))


def patterns_of(request: dict[str, str]) -> dict[str, Any]:
    return {"position": None if request["position"] == "-" else request["position"]}


class Adapter:
    """What both have in common."""

    def __init__(self) -> None:
        self.address, self.limits = "", dict[str, Any]()

    def connect(self, request: dict[str, str]) -> None:
        self.address = request["address"]
        self.limits = {"timeout": float(request["timeout"]), "connect_timeout": float(request["timeout"])}
        say(ok="")


def answer(result: object) -> None:
    say(**({"ok64": encoded(result)} if isinstance(result, bytes) else {"ok": result}))


def in_threads() -> None:
    adapter, kv = Adapter(), None
    for line in sys.stdin:
        request = json.loads(line)
        op = request["op"]
        try:
            if op == "connect":
                adapter.connect(request)
            elif op == "follow":
                say(ok="")
                patterns = request["patterns"].split(" ")
                for change in sync.Follow(adapter.address, *patterns, **patterns_of(request), **adapter.limits):
                    tell(change)
            else:
                kv = kv or sync.connect(adapter.address, reconnect=RECONNECT, **adapter.limits)
                words, options = words_of(request)
                answer(getattr(kv, CALLS[op])(*words, **options))
        except KvdError as error:
            complain(error, **({"event": "error"} if op == "follow" else {}))


async def in_tasks() -> None:
    adapter, kv = Adapter(), None
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        op = request["op"]
        try:
            if op == "connect":
                adapter.connect(request)
            elif op == "follow":
                say(ok="")
                patterns = request["patterns"].split(" ")
                async for change in client.Follow(adapter.address, *patterns, **patterns_of(request), **adapter.limits):
                    tell(change)
            else:
                kv = kv or await client.connect(adapter.address, reconnect=RECONNECT, **adapter.limits)
                words, options = words_of(request)
                answer(await getattr(kv, CALLS[op])(*words, **options))
        except KvdError as error:
            complain(error, **({"event": "error"} if op == "follow" else {}))


if __name__ == "__main__":
    in_threads() if sys.argv[1] == "threads" else asyncio.run(in_tasks())
