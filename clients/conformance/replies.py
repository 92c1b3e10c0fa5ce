"""Rules of requests and replies."""

import asyncio
import base64

from adapter import Adapter, Answer, Wrong
from case import (
    DRIP,
    EARLY,
    QUIET,
    RETRY,
    SILENCE,
    Rules,
    answers,
    cuts,
    is_value,
    must,
    refuses,
    says_nothing,
    talking,
)
from server import Peer, Request, Server

RULES = Rules("replies")
BIG = bytes(range(33, 127)) * 2000  # a value that comes in many pieces, whatever the client reads at once


async def get(client: Adapter, value: bytes | None = b"1000") -> None:
    """A read that must succeed."""
    answer = await client.ask("get", key="a")
    must(is_value(answer, value), f"get gave {answer}, and the value was {value!r}")


def writes(server: Server) -> list[Request]:
    return [request for request in server.requests if request.verb in ("SET", "PUT", "DEL")]


def sent_once(server: Server, answer: Answer) -> str:
    """A write of unknown outcome is told so, and not sent again."""
    count = len(writes(server))
    must(count == 1, f"the write was sent {count} times")
    must(answer.code == "uncertain", f"the write ended with {answer}, though it may have been done")
    return "the write was uncertain, and was not sent again"


@RULES("Replies come in pieces: a line ends where its LF is, not where a read ends.")
async def pieces(command: list[str]) -> str:
    async with talking(command, answers(b" a  b ", piece=1), answers(b"\0\xff", piece=1), answers(None, piece=1)) as (
        _,
        client,
    ):
        for value in (b" a  b ", b"\0\xff", None):
            await get(client, value)
    return "three replies, a byte at a time, were read"


@RULES("A long reply is one reply, in one large piece or in many.")
async def large(command: list[str]) -> str:
    async with talking(command, answers(BIG), answers(BIG, piece=1009), answers(b"next")) as (_, client):
        await get(client, BIG)
        await get(client, BIG)
        await get(client, b"next")
    return f"{len(BIG)} bytes came whole, twice"


@RULES("A slow reply is no silent one: time is counted from the last byte.")
async def slow(command: list[str]) -> str:
    async def drip(peer: Peer, request: Request) -> None:
        for byte in (f"OK {'7 ' * (request.verb == 'GETS')}1000\n").encode():
            await peer.send(bytes([byte]))
            await asyncio.sleep(DRIP)

    async with talking(command, drip, silence=QUIET) as (server, client):
        await get(client)
        must(len(server.requests) == 1, "the request was sent again though its reply was coming")
    return "it waited while bytes came"


@RULES("A CR is never part of a value: the server ends its lines in LF, and none carries a control character.")
async def cr_lf(command: list[str]) -> str:
    async with talking(command, answers(end="\r\n"), answers()) as (server, client):
        answer = await client.ask("get", key="a")
        must(answer.kind == "error" or is_value(answer, b"1000"), f"get gave {answer}")
        return "it dropped the CR" if len(server.requests) == 1 else "it did not take such a reply"


@RULES("A line without its end is no line: the start of a value is not the value.")
async def cut_read(command: list[str]) -> str:
    async with talking(command, cuts(lacking=3), answers()) as (server, client):
        answer = await client.ask("get", key="a")
        must(answer.kind == "error" or is_value(answer, b"1000"), f"get gave {answer} of 1000")
        await get(client)
        return f"the read gave {answer}, with {len(server.accepted)} connections; the next one was right"


@RULES("A write whose reply was cut is uncertain, and never sent again unasked.")
async def cut_write(command: list[str]) -> str:
    async with talking(command, cuts(lacking=1), answers()) as (server, client):
        return sent_once(server, await client.ask("set", key="a", value="1"))


@RULES("A write without a reply is uncertain, whatever write it is, and the client connects again for what comes then.")
async def lost_write(command: list[str]) -> str:
    for op in ({"op": "set", "value": "1"}, {"op": "put", "value": "1", "if": "3"}, {"op": "del"}):
        async with talking(command, cuts(), answers()) as (server, client):
            done = sent_once(server, await client.ask(key="a", **op))
            await get(client)
    return done


@RULES("ERR uncertain is told as such, and the write is not sent again.")
async def uncertain(command: list[str]) -> str:
    async with talking(command, refuses("uncertain the store was lost"), answers()) as (server, client):
        return sent_once(server, await client.ask("set", key="a", value="1"))


@RULES("ERR unavailable is certainly not done: it is told, with its retry=, or tried again after that time.")
async def unavailable(command: list[str]) -> str:
    async with talking(command, refuses(f"unavailable retry={RETRY} busy"), answers()) as (server, client):
        answer = await client.ask("set", key="a", value="1")
        sent = writes(server)
        if answer.kind == "error":
            must(answer.code == "unavailable", f"it was told as {answer}")
            must(len(sent) == 1 and answer.retry in (None, RETRY), f"it was told as {answer}, sent {len(sent)} times")
            return str(answer)
        waited = sent[1].at - sent[0].at
        must(waited > RETRY - EARLY, f"it was sent again after {waited:.2f} s instead of {RETRY} s")
        return f"it waited for {waited:.2f} s and sent it again"


@RULES("A code that the client does not know means that nothing was changed: it is told, and the connection goes on.")
async def unknown_code(command: list[str]) -> str:
    async with talking(command, refuses("peculiar this came later"), answers()) as (server, client):
        answer = await client.ask("set", key="a", value="1")
        must(answer.kind == "error" and answer.code != "uncertain", f"the write ended with {answer}")
        must(len(writes(server)) == 1, "the write was sent again")
        await get(client)
        return f"{answer}; the next request was answered"


@RULES("Lines whose first word the client does not know are skipped, wherever they come.")
async def unknown_lines(command: list[str]) -> str:
    odd = ("HINT OK 5", "okay 5", "", " OK 5", "PAIRS 1 a b")
    async with talking(command, answers(b"1000", *odd)) as (server, client):
        await get(client)
        answer = await client.ask("set", key="a", value="1")
        must(is_value(answer, b"7"), f"set gave {answer}")
        must(len(server.requests) == 2, "a request was sent again")
    return "they were skipped"


@RULES("Lines that are pushed are no part of a reply, and may come before any.")
async def pushed_lines(command: list[str]) -> str:
    pushed = ("PROGRESS 5@s1", "CHANGE 6@s1 SET a OK", "END 6@s1 compacted OK 5")
    async with talking(command, answers(b"1000", *pushed)) as (server, client):
        await get(client)
        answer = await client.ask("set", key="a", value="1")
        must(is_value(answer, b"7"), f"set gave {answer}")
        must(len(server.requests) == 2, "a request was sent again")
    return "they were set apart"


@RULES("A status line that answers nothing means that the place is lost: it is never taken for the next reply.")
async def unasked(command: list[str]) -> str:
    async with talking(command, answers(after="OK 666"), answers(b"2000"), answers(b"3000")) as (server, client):
        await get(client)
        answer = await client.ask("get", key="a")
        must(
            answer.kind == "error" or answer.value in (b"2000", b"3000"), f"get gave {answer}, which was not asked for"
        )
        return f"the next get gave {answer}, on connection {server.requests[-1].connection + 1}"


@RULES("A read that a silent server never answers ends, after the time that the client was given.")
async def silent_read(command: list[str]) -> str:
    async with talking(command, says_nothing, silence=SILENCE, housekeeping=False) as (_, client):
        answer = await client.ask("get", key="a")
        must(answer.kind == "error", f"get gave {answer}")
        return str(answer)


@RULES("A write that a silent server never answers is uncertain.")
async def silent_write(command: list[str]) -> str:
    async with talking(command, says_nothing, silence=SILENCE) as (server, client):
        return sent_once(server, await client.ask("set", key="a", value="1"))


@RULES("A connection that ended while nothing was asked is opened again: the next write is certain.")
async def ended_while_idle(command: list[str]) -> str:
    async def answer_and_cut(peer: Peer, request: Request) -> None:
        await answers()(peer, request)
        peer.cut()

    async with talking(command, answer_and_cut, answers()) as (server, client):
        await get(client)
        await asyncio.sleep(0.1)  # the client's kernel has the end by then
        answer = await client.ask("set", key="a", value="1")
        must(is_value(answer, b"7"), f"set gave {answer}")
        must(len(writes(server)) == 1, "the write was sent again")
    return "the write went over a new connection, once"


@RULES("A daemon that has too many connections says so unasked: ERR unavailable.")
async def too_many_connections(command: list[str]) -> str:
    turned_away: list[float] = []

    async def refuse(peer: Peer) -> None:
        if not turned_away:
            turned_away.append(asyncio.get_running_loop().time())
            await peer.say(f"ERR unavailable retry={RETRY} there are too many connections; try again later")
            peer.cut()

    async with talking(command, answers(), greeting=refuse) as (_, client):
        answer = await client.ask("get", key="a")
        must(answer.code == "unavailable" or is_value(answer, b"1000"), f"get gave {answer}")
        if answer.kind == "error":
            await get(client)
        return f"get gave {answer}"


@RULES("A server that ends every connection at once is not stormed: pauses grow from some 0.1 seconds.")
async def storm(command: list[str]) -> str:
    async def end(peer: Peer) -> None:
        peer.cut()

    async with talking(command, answers(), greeting=end, silence="1.5") as (server, client):
        answer = await client.ask("get", key="a")
        must(answer.kind == "error", f"get gave {answer} of a server that answers nothing")
        count = len(server.accepted)
        must(count <= 10, f"it connected {count} times")
        return f"{answer}, after {count} connections"


@RULES("What would be more than one line, or shift its words, is refused before it is sent.")
async def forged_lines(command: list[str]) -> str:
    async with talking(command, answers()) as (server, client):
        for key in ("a\nDEL b", "a b", "a\r", "", "a\tb", "a*"):
            for op in ("get", "set"):
                answer = await client.ask(op, key=key, **{"value": "v"} if op == "set" else {})
                must(answer.kind == "error", f"{op} of the key {key!r} gave {answer}")
        must(server.requests == [], f"it sent {[request.line for request in server.requests]}")
    return "they were refused"


@RULES("Any bytes go in, as they are: what a line cannot carry goes in base64.")
async def any_bytes(command: list[str]) -> str:
    values = [b"", b" ", b"a\nDEL b", b"\r", b"a\r\n", b"\0", b"\xff\xfe", "\u2028\x85".encode(), "Grüße 🔑".encode()]
    values += [bytes(range(256)), b"= base64", b'"\\\t', b"base64 = AAEC"]
    async with talking(command, answers()) as (server, client):
        for value in values:
            members = {"value64": base64.b64encode(value).decode()}
            answer = await client.ask("set", key="a", **members)
            must(is_value(answer, b"7"), f"set of {value!r} gave {answer}")
            sent = server.requests[-1]
            if sent.value != value or len(server.requests) != values.index(value) + 1:
                raise Wrong(f"for {value!r} it sent {sent.line!r}")
    return f"{len(values)} values were sent exactly"
