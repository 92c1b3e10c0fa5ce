"""Where the store is, in words that a worker can be told, and how it is opened."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kvd.group_url import is_group
from kvd.process.activity import Activity
from kvd.settings import REPLICA, Settings
from kvd.store.redis.cache import Cache, LocalCache
from kvd.store.redis.disk_space import on_disk, refused_by
from kvd.store.redis.maintenance import Retention
from kvd.store.redis.parts import Parts
from kvd.store.redis.shared_cache import SharedCache, Versions, WorkerSlot
from kvd.store.redis.store import Store


class StoreLocation(NamedTuple):
    """Where the store is.

    url: as Connector takes it.  disk: the directory of the embedded one, None if the disk that it fills is somebody
    else's care, who then may also write to it.  growing: gives the file on that disk which the store appends to.
    refusal: int, the pipe that says whether that disk takes no writes.
    slot: where this process counts its writes, if it is one of several.
    """

    url: str
    disk: Path | None
    growing: Callable[[], Path] | None = None
    refusal: int = -1
    slot: WorkerSlot | None = None

    def descriptors(self) -> list[int]:
        """What another process must inherit to use it."""
        return [*([] if self.disk is None else [self.refusal]), *([self.slot.descriptor] if self.slot else [])]

    def open(self, settings: Settings, activity: Activity | None = None) -> Store:
        """The store.  activity: of this process, None for a constant one.  Raises StartError if the URL is none."""
        kept = settings.memory.retention(settings.history_changes, settings.history_bytes)
        retention = Retention(*kept, settings.history_age)
        if self.disk is None:
            parts = self._group(settings) if is_group(self.url) else None
            return Store(
                self.url, retention, owner_keys=settings.owner_keys, parts=parts, activity=activity,
                notes=settings.notes,
            )  # fmt: skip
        free_space = on_disk(self.disk, self.growing, refused_by(self.refusal))
        return Store(
            self.url,
            retention,
            free_space,
            self._cache(settings),
            settings.fsync,
            settings.owner_keys,
            direct=True,
            activity=activity,
        )

    def _group(self, settings: Settings) -> Parts:
        # With the client library, which it needs, that takes as long to load as all that serves.
        from kvd.store.replicated.parts import parts_of

        return parts_of(self.url, settings.durability, reads_replicas=settings.log_from == REPLICA)

    def _cache(self, settings: Settings) -> Cache:
        if self.slot:
            return SharedCache(settings.read_cache, Versions(self.slot))
        return LocalCache(settings.read_cache if settings.workers == 1 else 0)
