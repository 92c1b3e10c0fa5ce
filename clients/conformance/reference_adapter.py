"""The adapter of the reference client; one for another client does the same in another language."""

import base64
import json
import sys
from typing import Any

from reference import Event, Kvd, KvdError


def say(**members: str | None) -> None:
    print(json.dumps(members), flush=True)  # noqa: T201 - this is what an adapter is for


def value_of(request: dict[str, str]) -> bytes:
    return base64.b64decode(request["value64"]) if "value64" in request else request["value"].encode()


def encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def follow(kv: Kvd, request: dict[str, str]) -> None:
    say(ok="")
    event: Event
    for event in kv.follow(*request["patterns"].split(" "), position=request["position"]):
        members: dict[str, Any] = {"event": event.kind, "position": event.position, "key": event.key}
        say(**members | ({} if event.value is None else {"value64": encoded(event.value)}))


def run(kv: Kvd, request: dict[str, str]) -> None:
    key = request.get("key", "")
    match request["op"]:
        case "get":
            say(ok64=encoded(kv.get(key)))
        case "set":
            say(ok=kv.set(key, value_of(request)))
        case "put":
            say(ok=kv.put(key, value_of(request), request.get("ttl", ""), request.get("if", "")))
        case "del":
            say(ok=kv.delete(key, request.get("if", "")))
        case "follow":
            follow(kv, request)


def main() -> None:
    kv = Kvd()
    following = False
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["op"] == "connect":
                login = request.get("user", ""), request.get("password", "")
                kv = Kvd(request["address"], float(request["timeout"]), *login)
                say(ok="")
            else:
                following = request["op"] == "follow"
                run(kv, request)
        except KvdError as error:
            members = {"event": "error"} if following else {}
            if error.code == "conflict":
                say(conflict=error.revision)
            else:
                say(**members, error=error.code, **{} if error.retry is None else {"retry": str(error.retry)})


main()
