"""Rules of following patterns where the watch ends, is refused or falls silent, or where history is gone."""

import asyncio
import time

from case import (
    DRIP,
    FIRST_PAUSE,
    LAST,
    QUIET,
    RETRY,
    SILENCE,
    Rules,
    Watched,
    asked,
    change,
    copies,
    last,
    line,
    must,
    paused,
    refuses,
    resumes,
    says_nothing,
    told,
    watched,
)
from server import Peer, Request, Turn

RULES = Rules("follow")
NO_TIMES = ("0", "99999999999", "1.2.3", "9" * 40, ".")  # to be waited for


def noticed(watch: Watched) -> str:
    must(len(watch.copies) == 1, f"it told {len(watch.copies)} copies")
    return f"it told the copy, and {asked_any(watch)}"


def asked_any(watch: Watched) -> str:
    return f"asked for {', then '.join(watch.asked)}"


def gone(reason: str, store: str) -> Turn:
    """A copy at a revision that is lower than the one the client has, where the store is another."""
    revision = 50 if store == "s1" else 2
    lines = [line(revision + 1, "a", "new", store), last(revision + 2, store)]
    return copies(reason, [f"PAIR {revision} p/a 1"], f"{revision}@{store}", *lines)


async def copied(command: list[str], reason: str, store: str, *turns: Turn) -> str:
    watch = await watched(command, *turns, gone(reason, store))
    told(watch, change(51 if store == "s1" else 3, "a", "new", store))
    return noticed(watch)


@RULES("COPY: history is gone, and what follows takes the place of all that the client had.")
async def copy_for_compacted(command: list[str]) -> str:
    return await copied(command, "compacted", "s1")


@RULES("COPY store: the new store's revisions count anew, so that a lower one is no repetition.")
async def copy_for_store(command: list[str]) -> str:
    return await copied(command, "store", "s2")


@RULES("COPY future, and for a reason that the client does not know: a copy all the same.")
async def copy_for_other_reasons(command: list[str]) -> str:
    await copied(command, "future", "s2")
    return await copied(command, "peculiar", "s1")


@RULES("ERR compacted: begin anew with a copy; the same again would be refused again.")
async def refused_compacted(command: list[str]) -> str:
    return await copied(command, "compacted", "s1", refuses("compacted 9@s1 no longer kept"))


@RULES("ERR store: begin anew with a copy.")
async def refused_store(command: list[str]) -> str:
    return await copied(command, "store", "s2", refuses("store that is of another history"))


@RULES("ERR future: begin anew with a copy.")
async def refused_future(command: list[str]) -> str:
    return await copied(command, "future", "s1", refuses("future there is no such revision yet"))


@RULES("ERR unavailable: again after its retry=, from the same position.")
async def refused_unavailable(command: list[str]) -> str:
    watch = await watched(command, refuses(f"unavailable retry={RETRY} busy"), resumes(line(5, "a", "1"), last()))
    told(watch, change(5, "a", "1"))
    return f"{asked(watch, '4@s1', '4@s1')}; {paused(watch, RETRY)}"


@RULES("What is no retry= of a daemon's, which tells 60 seconds at the most, is text: after a pause it asks again.")
async def refused_with_no_time(command: list[str]) -> str:
    refused = [refuses(f"unavailable retry={time} busy") for time in NO_TIMES]
    watch = await watched(command, *refused, resumes(line(5, "a", "1"), last()))
    told(watch, change(5, "a", "1"))
    for number in range(len(refused)):
        paused(watch, begun=number)
    return f"it paused each of {len(refused)} times"


@RULES("What is refused for good (ERR bad-key) is told, and not asked for ever.")
async def refused_for_good(command: list[str]) -> str:
    watch = await watched(command, refuses("bad-key no pattern"))
    must(watch.error != "", "it told no error")
    must(len(watch.asked) == 1, f"it asked {len(watch.asked)} times")
    return f"it told the error {watch.error}"


async def ended(command: list[str], end: str, cut: bool, wait: float = FIRST_PAUSE) -> str:
    """END moves the position; the watch is begun again there."""
    at = [0.0]

    async def turn(peer: Peer, request: Request) -> None:
        at[0] = time.monotonic()  # before: this program may be held up after it
        await resumes(line(5, "a", "1"), end)(peer, request)
        if cut:
            peer.cut()

    watch = await watched(command, turn, resumes(line(13, "b", "2"), last()))
    told(watch, change(5, "a", "1"), change(13, "b", "2"))
    return f"{asked(watch, '4@s1', '12@s1')}; {paused(watch, wait, at[0])}"


@RULES("END shutdown: connect again after its retry=, and go on from its position.")
async def end_shutdown(command: list[str]) -> str:
    return await ended(command, f"END 12@s1 shutdown retry={RETRY} the daemon stops", cut=True, wait=RETRY)


@RULES("END compacted: the connection goes on without a watch, and the watch must be begun again.")
async def end_compacted(command: list[str]) -> str:
    return await ended(command, f"END 12@s1 compacted retry={RETRY} too slow", cut=False, wait=RETRY)


@RULES("END with a code that the client does not know: after a pause it begins where it was.")
async def end_unknown(command: list[str]) -> str:
    return await ended(command, "END 12@s1 peculiar this came later", cut=False)


@RULES("END store: the watch is begun again, and a copy comes.")
async def end_store(command: list[str]) -> str:
    return await copied(command, "store", "s2", resumes("END 12@s1 store the history was replaced"))


@RULES("Lines that the client does not know are skipped, in a copy and after it, and so are items that belong nowhere.")
async def unknown_lines(command: list[str]) -> str:
    items = ["PAIR 1 p/a 1", "NOTE 2 p/a wrong", "CHANGED 3@s1 SET p/a wrong", "PAIR 4 p/b 2"]
    lines = ["HINT 5", "", "PAIR 5 p/a wrong", line(5, "c", "3"), "change 6@s1 SET p/a wrong", last()]
    watch = await watched(command, copies("new", items, "4@s1", *lines), position="-")
    told(watch, change(5, "c", "3"))
    must(watch.copies == [({"p/a": b"1", "p/b": b"2"}, "4@s1")], f"the copies were {watch.copies}")
    must(len(watch.asked) == 1, f"it connected again: {watch.asked}")
    return "they were skipped"


@RULES("A server that falls silent is given up: ask for PROGRESS, and connect again when several lines are missing.")
async def silent_watch(command: list[str]) -> str:
    watch = await watched(command, resumes(line(5, "a", "1")), resumes(line(6, "b", "2"), last()), silence=SILENCE)
    told(watch, change(5, "a", "1"), change(6, "b", "2"))
    must(watch.server.progress_asked, "it never asked for PROGRESS")
    return asked(watch, "4@s1", "5@s1")


@RULES("A server that never answers FOLLOW is given up.")
async def silent_from_the_start(command: list[str]) -> str:
    watch = await watched(command, says_nothing, resumes(last()), silence=SILENCE)
    told(watch)
    return asked(watch, "4@s1", "4@s1")


@RULES("A quiet watch is no silent one: while PROGRESS lines come, the connection stays.")
async def quiet_watch(command: list[str]) -> str:
    async def quietly(peer: Peer) -> None:
        for number in range(8):
            await asyncio.sleep(DRIP)
            await peer.say(f"PROGRESS {5 + number}@s1")
        await peer.say(last())

    async def begin(peer: Peer, request: Request) -> None:
        await resumes()(peer, request)
        peer.later(quietly(peer))

    watch = await watched(command, begin, silence=QUIET)
    told(watch)
    return asked(watch, "4@s1")


@RULES("A server that ends every connection at once is not stormed: pauses grow from some 0.1 seconds.")
async def storm(command: list[str]) -> str:
    begun: list[float] = []

    async def end_for_a_while(peer: Peer) -> None:
        begun.append(time.monotonic())
        if time.monotonic() - begun[0] < 1.5 or len(begun) < 3:
            peer.cut()

    watch = await watched(command, resumes(last()), greeting=end_for_a_while)
    told(watch)
    count = len(watch.server.accepted)
    must(2 < count <= 12, f"it connected {count} times")
    return f"it came through, with {count} connections"


@RULES("Through one failure after another, every change comes once.")
async def everything(command: list[str]) -> str:
    turns = [
        resumes(line(5, "a", "1"), line(6, "a", "2"), lacking=2, cut=True),
        says_nothing,
        refuses("unavailable retry=0.1 busy"),
        resumes(line(5, "a", "1"), line(6, "a", "2"), "PROGRESS 8@s1", piece=7, cut=True),
        copies("compacted", ["PAIR 3 p/a x"], ""),
        gone("store", "s2"),
    ]
    watch = await watched(command, *turns, silence=SILENCE)
    told(watch, change(5, "a", "1"), change(6, "a", "2"), change(3, "a", "new", "s2"))
    must(LAST not in watch.copies[-1][0], "the copy has what came after it")
    return noticed(watch)
