"""The store is taken up at the daemon's start: started, if it is the embedded one, and looked at once."""

import logging
from typing import TYPE_CHECKING, NamedTuple

from kvd.embedded.repair import RESTORE
from kvd.embedded.server import EmbeddedServer
from kvd.embedded.soundness import remedies
from kvd.errors import ForeignStore, StartError, StoreLost
from kvd.model import Position
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from kvd.store.redis.connection import Connector
from kvd.store.redis.note import EndNote

if TYPE_CHECKING:
    from kvd.edge.location import EdgeLocation
    from kvd.edge.store import EdgeStore
    from kvd.store.redis.store import Store

logger = logging.getLogger("kvd")


class Opened(NamedTuple):
    """What was found.  engine: what keeps the data, in words.  store: what has looked; None for an edge."""

    location: "StoreLocation | EdgeLocation"
    engine: str
    position: Position
    store: "Store | None"


async def open_external(settings: Settings, note: EndNote) -> Opened:
    """A store that is given with --store.  note: where it was at the last end.  Raises StartError."""
    location = StoreLocation(settings.store, None)
    store = location.open(settings)
    await store.start(end=note.read(), wait=settings.store_wait)
    note.forget()
    return Opened(location, store.server, store.known, store)


async def open_edge(edge: "EdgeStore", settings: Settings) -> Opened:
    """A copy of what another daemon serves.  Raises StartError."""
    from kvd.edge.location import EdgeLocation

    await edge.start(wait=settings.store_wait)
    return Opened(EdgeLocation(edge), edge.server, edge.known, None)


async def open_embedded(embedded: EmbeddedServer, settings: Settings) -> Opened:
    """The daemon's own store.  Raises StartError."""
    await embedded.start()
    await _see_that_the_end_is_sound(embedded)
    location = StoreLocation(embedded.url, embedded.path, embedded.aof.tail, embedded.refusal)
    why_suspect, loss = embedded.why_suspect, embedded.loss
    if why_suspect:
        logger.warning("the store's history is taken for another: of %s, %s", embedded.shown, why_suspect)
    store = location.open(settings)
    try:
        await store.start(suspect=bool(why_suspect), loss=loss)
    except ForeignStore as error:
        raise _of(embedded, error) from None
    embedded.use()
    return Opened(location, store.server, store.known, store)


async def _see_that_the_end_is_sound(embedded: EmbeddedServer) -> None:
    """What no checksum is of, after a kill, is compared with the digests in the change log.  Raises StartError."""
    if not (size := embedded.unsealed):
        return
    from kvd.store.redis.checking import check_end

    try:
        connection = await Connector(embedded.url, direct=True).open()
        try:
            found = await check_end(connection, size)
        finally:
            await connection.close()
    except (StoreLost, TimeoutError) as error:
        raise StartError(f"the store was lost while it was looked at: {error}") from None
    except ForeignStore as error:
        raise _of(embedded, error) from None
    if found:
        raise StartError(f"{embedded.shown} is damaged: {found[0].text}; {remedies(embedded.path)}")


def _of(embedded: EmbeddedServer, error: ForeignStore) -> StartError:
    """The same error, with which data it is about and what to do."""
    return StartError(f"{embedded.shown}: {error}; {RESTORE}")
