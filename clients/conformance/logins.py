"""Rules of clients that log in: with --login, for they are no part of a client that need not."""

import contextlib
from collections.abc import AsyncIterator

from adapter import Adapter
from case import LAST, TIMEOUT, Rules, answers, cuts, must, refuses, resumes
from replies import get
from server import Peer, Request, Server, Turn

RULES = Rules("login")
USER, PASSWORD = "ada", "two  words and a space "


@contextlib.asynccontextmanager
async def logged_in(command: list[str], *turns: Turn) -> AsyncIterator[tuple[Server, Adapter]]:
    """A client that is told a user and a password, too."""
    async with Server([*turns]) as server, Adapter(command) as client:
        await client.ask("connect", address=server.address, timeout=TIMEOUT, user=USER, password=PASSWORD)
        yield server, client


async def lets_in(peer: Peer, request: Request) -> None:
    """The turn for AUTH."""
    is_right = request.line == f"AUTH {USER} {PASSWORD}"
    await peer.say("OK" if is_right else "ERR auth the user or the password is wrong")


def asked(server: Server) -> list[str]:
    """The verbs of all requests, each with the number of its connection."""
    return [f"{request.connection}:{request.verb}" for request in server.requests]


@RULES("AUTH, with the password as it is, comes first on each connection, and nothing before it is answered.")
async def first(command: list[str]) -> str:
    async with logged_in(command, lets_in, answers(), cuts(), lets_in, answers()) as (server, client):
        await get(client)
        await get(client)
        must(asked(server) == ["0:AUTH", "0:GET", "0:GET", "1:AUTH", "1:GET"], f"it asked {asked(server)}")
    return "it logged in once on each connection"


@RULES("A refused login is told with its code; what was asked is not sent, and not tried again by itself.")
async def refused(command: list[str]) -> str:
    async with logged_in(command, refuses("auth the user or the password is wrong"), lets_in, answers()) as (
        server,
        client,
    ):
        answer = await client.ask("set", key="a", value="1")
        must(answer.code == "auth", f"the write ended with {answer}")
        must(asked(server) == ["0:AUTH"], f"it asked {asked(server)}")
        await get(client)
    return "the error auth was told, and the next request logged in anew"


@RULES("A write before whose login the connection was lost was not sent: it is sent, once, on another one.")
async def cut(command: list[str]) -> str:
    async with logged_in(command, cuts(), lets_in, answers()) as (server, client):
        answer = await client.ask("set", key="a", value="1")
        must(answer.kind == "ok", f"the write ended with {answer}, though it was not sent before")
        found = asked(server)
        must(found[:2] == ["0:AUTH", "1:AUTH"] and len(found) == 3, f"it asked {found}")
    return "it logged in on another connection, and wrote once"


@RULES("A watch logs in on each of its connections.")
async def watch(command: list[str]) -> str:
    begun = resumes("CHANGE 5@s1 SET p/a 1", cut=True)
    again = resumes(f"CHANGE 6@s1 SET {LAST} 1")
    async with logged_in(command, lets_in, begun, lets_in, again) as (server, client):
        await client.ask("follow", patterns="p/*", position="4@s1")
        keys = []
        while (event := await client.event()) is not None:
            keys += [event.key] if event.kind == "set" else []
            if event.key == LAST:
                break
        must(keys == ["p/a", LAST], f"the changes were of {keys}")
        found = asked(server)
        must(found == ["0:AUTH", "0:FOLLOW", "1:AUTH", "1:FOLLOW"], f"it asked {found}")
    return "it logged in before each FOLLOW"


@RULES("A watch whose login is refused gives up: it does not try again for ever.")
async def refused_watch(command: list[str]) -> str:
    async with logged_in(command, refuses("auth the user or the password is wrong")) as (server, client):
        await client.ask("follow", patterns="p/*", position="4@s1")
        event = await client.event()
        must(event is not None and (event.kind, event.code) == ("error", "auth"), f"it told {event}")
        must(asked(server) == ["0:AUTH"], f"it asked {asked(server)}")
    return "it told the error auth"
