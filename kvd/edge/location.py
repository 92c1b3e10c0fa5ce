"""The edge's store, as a daemon opens it."""

from pathlib import Path

from kvd.edge.store import EdgeStore
from kvd.process.activity import Activity
from kvd.settings import Settings


class EdgeLocation:
    """Takes the place of a `StoreLocation`: the store is opened once, for its copy is in this process."""

    disk: Path | None = None

    def __init__(self, store: EdgeStore) -> None:
        self._store = store

    def open(self, settings: Settings, activity: Activity | None = None) -> EdgeStore:  # noqa: ARG002
        """The store."""
        return self._store
