"""Rules of following patterns: every change once, in order, from one connection to the next."""

from case import Rules, asked, change, copies, last, line, must, paused, resumes, talking, told, watched
from server import Peer, Request

RULES = Rules("follow")
BRIEF = 5.0  # seconds for an event that is to come at once


@RULES("A watch goes on after the position that it was given, with all its patterns, and values come as they are.")
async def position(command: list[str]) -> str:
    odd = [" ", " a  b ", "", "OK 5", "SET p/x y", "a\tb", "Grüße"]
    lines = [line(number, "k", value) for number, value in enumerate(odd, 5)]
    begin = resumes(*lines, "CHANGE 12@s1 SET64 p/b AAH/", "CHANGE 13@s1 DEL p/b", "CHANGE 14@s1 EXPIRE p/k", last())
    watch = await watched(command, begin, patterns="p/* q/a r*")
    told(
        watch, *[change(number, "k", value) for number, value in enumerate(odd, 5)],
        ("12@s1", "set", "p/b", b"\0\1\xff"), ("13@s1", "del", "p/b", None), ("14@s1", "expire", "p/k", None),
    )  # fmt: skip
    patterns = watch.requests[0].patterns
    must(sorted(patterns) == ["p/*", "q/a", "r*"], f"it asked for the patterns {patterns}")
    return asked(watch, "4@s1")


@RULES("A copy is what there is once its OK has come: PAIR sets a key, GONE removes it, a key may come again.")
async def copy(command: list[str]) -> str:
    items = ["PAIR 1 p/a one", "PAIR64 2 p/b AAH/", "PAIR 3 p/c ", "GONE 5 p/a", "GONE 5 p/never", "PAIR 6 p/c new"]
    watch = await watched(command, copies("new", items, "6@s1", line(7, "d", "4"), last()), position="-")
    told(watch, change(7, "d", "4"))
    must(watch.copies == [({"p/b": b"\0\1\xff", "p/c": b"new"}, "6@s1")], f"the copies were {watch.copies}")
    return "the copy was right"


@RULES("Changes come in pieces: a byte at a time is a watch like any other.")
async def pieces(command: list[str]) -> str:
    begin = copies("new", ["PAIR 1 p/a  x "], "4@s1", line(5, "b", " y "), last(), piece=1)
    watch = await watched(command, begin, position="-")
    told(watch, change(5, "b", " y "))
    must(watch.copies == [({"p/a": b" x "}, "4@s1")], f"the copies were {watch.copies}")
    return "a copy and a change, a byte at a time, were read"


@RULES("Hundreds of changes in one large piece are as many changes.")
async def one_large_piece(command: list[str]) -> str:
    numbers = range(5, 305)
    big = "x" * 100_000
    begin = resumes(*[line(number, "a", str(number)) for number in numbers], line(305, "a", big), last(999))
    told(
        await watched(command, begin), *[change(number, "a", str(number)) for number in numbers], change(305, "a", big)
    )
    return "301 changes came"


@RULES("A CR is never part of a value, a key or a position.")
async def cr_lf(command: list[str]) -> str:
    watch = await watched(command, resumes(line(5, "a", "1"), end="\r\n", cut=True), resumes(line(5, "a", "1"), last()))
    told(watch, change(5, "a", "1"))
    must(all("\r" not in where for where in watch.asked), f"it asked for {watch.asked}")
    return f"it asked for {', then '.join(watch.asked)}"


@RULES("A change that is cut is none: it comes whole from the next connection, which goes on after the last whole one.")
async def cut_line(command: list[str]) -> str:
    first = resumes(line(5, "a", "1"), line(6, "b", "1000"), lacking=3, cut=True)
    watch = await watched(command, first, resumes(line(6, "b", "1000"), last()))
    told(watch, change(5, "a", "1"), change(6, "b", "1000"))
    return f"{asked(watch, '4@s1', '5@s1')}; {paused(watch)}"


@RULES("A position that is cut is none.")
async def cut_position(command: list[str]) -> str:
    watch = await watched(command, resumes("PROGRESS 55@s1", lacking=4, cut=True), resumes(last()))
    told(watch)
    return asked(watch, "4@s1", "4@s1")


@RULES("A copy that is cut is void, with all that has come of it: what was there stays, and its position.")
async def cut_copy(command: list[str]) -> str:
    torn = copies("compacted", ["PAIR 8 p/wrong 1", "PAIR 50 p/a 2"], "")
    whole = copies("compacted", ["PAIR 9 p/a 1"], "9@s1", last())
    watch = await watched(command, torn, whole)
    told(watch)
    must(watch.copies == [({"p/a": b"1"}, "9@s1")], f"the copies were {watch.copies}")
    wanted = [request for request in watch.requests if request.verb != "SYNC"]
    must(all(request.position in ("4@s1", None) for request in wanted), f"it asked for {watch.asked}")
    return f"it asked for {', then '.join(watch.asked)}"


@RULES("A change that comes again is told once: a revision that is not after the position was told before.")
async def repeated_change(command: list[str]) -> str:
    first = resumes(line(5, "a", "1"), line(5, "a", "1"), line(6, "b", "2"), line(5, "a", "1"), cut=True)
    watch = await watched(command, first, resumes(line(6, "b", "2"), line(7, "c", "3"), last()))
    told(watch, change(5, "a", "1"), change(6, "b", "2"), change(7, "c", "3"))
    return asked(watch, "4@s1", "6@s1")


@RULES("Ten is after nine: revisions are numbers.")
async def numbers(command: list[str]) -> str:
    big = 9007199254740990
    first = resumes(line(9, "a", "1"), line(10, "b", "2"), line(9, "a", "1"), line(big, "c", "3"), cut=True)
    watch = await watched(command, first, resumes(line(big, "c", "3"), last(big + 1)))
    told(watch, change(9, "a", "1"), change(10, "b", "2"), change(big, "c", "3"))
    return asked(watch, "4@s1", f"{big}@s1")


@RULES("A watch that begins after the position asked for lacks changes: it is not taken.")
async def missing_changes(command: list[str]) -> str:
    ahead = resumes(line(9, "z", "9"), at="8@s1")
    watch = await watched(command, ahead, resumes(line(5, "a", "1"), line(9, "z", "9"), last()))
    told(watch, change(5, "a", "1"), change(9, "z", "9"))
    return asked(watch, "4@s1", "4@s1")


@RULES("A watch that begins before the position asked for repeats changes: nothing is told twice.")
async def stale_position(command: list[str]) -> str:
    stale = resumes(line(3, "a", "old"), line(4, "b", "old"), line(5, "c", "new"), at="2@s1", cut=True)
    watch = await watched(command, stale, resumes(line(5, "c", "new"), last()))
    told(watch, change(5, "c", "new"))
    return f"it asked for {', then '.join(watch.asked)}"


@RULES("A change of another store, without a copy before it, is none of this watch.")
async def change_of_another_store(command: list[str]) -> str:
    other = resumes(line(5, "a", "1"), line(50, "b", "wrong", "s2"), cut=True)
    watch = await watched(command, other, resumes(line(6, "b", "right"), last()))
    told(watch, change(5, "a", "1"), change(6, "b", "right"))
    return asked(watch, "4@s1", "5@s1")


@RULES("PROGRESS moves the position, and never back.")
async def progress(command: list[str]) -> str:
    first = resumes(line(5, "a", "1"), "PROGRESS 40@s1", "PROGRESS 30@s1", cut=True)
    watch = await watched(command, first, resumes(last()))
    told(watch, change(5, "a", "1"))
    return asked(watch, "4@s1", "40@s1")


@RULES("A status line that answers nothing means that the place is lost: its position is none of the watch.")
async def unasked(command: list[str]) -> str:
    stray = resumes(line(5, "a", "1"), "OK 77@s1", cut=True)
    watch = await watched(command, stray, resumes(line(6, "b", "2"), last()))
    told(watch, change(5, "a", "1"), change(6, "b", "2"))
    return asked(watch, "4@s1", "5@s1")


@RULES("In a watch of every key a missing revision may be noticed; whether it is or not, what came is told once.")
async def missing_revision(command: list[str]) -> str:
    hole = resumes(line(5, "a", "1"), line(7, "c", "3"), line(8, "d", "4"), cut=True)
    rest = [line(number, key, value) for number, key, value in ((6, "b", "2"), (7, "c", "3"), (8, "d", "4"))]

    async def after(peer: Peer, request: Request) -> None:
        await resumes(*(rest if request.position == "5@s1" else []), last(9))(peer, request)

    watch = await watched(command, hole, after, patterns="*")
    noticed = "5@s1" in watch.asked
    told(watch, change(5, "a", "1"), *[change(6, "b", "2")] * noticed, change(7, "c", "3"), change(8, "d", "4"))
    return "it noticed, and asked again" if noticed else "it told what came"


@RULES("A pattern that would be more than one line, or another request's words, is refused before it is sent.")
async def forged_patterns(command: list[str]) -> str:
    async with talking(command, resumes(last())) as (server, client):
        answer = await client.ask("follow", patterns="p/*\nDEL p/a", position="4@s1")
        event = await client.event(BRIEF) if answer.kind == "ok" else None
        verbs = [request.verb for request in server.requests]
        must("DEL" not in verbs, f"it sent {[request.line for request in server.requests]}")
        must(answer.kind == "error" or event is not None, f"follow was answered with {answer}, and then nothing came")
        return str(answer) if answer.kind == "error" else "it sent no second request"
