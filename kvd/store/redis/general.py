"""All writes as write.lua takes them, and jobs of writes."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from kvd.requests import (
    AnyWrite,
    Check,
    CheckNone,
    CheckSince,
    Delete,
    Demand,
    Increment,
    Limited,
    Put,
    Touch,
    Transaction,
)
from kvd.store.redis.connection import Argument
from kvd.store.redis.digest import SHORT, crc
from kvd.store.redis.jobs import Job
from kvd.store.redis.simple import requests_of


def _put(write: Put) -> tuple[Argument, ...]:
    key, kind, value, ttl, condition, owner = write
    if len(value) > SHORT:
        # The script is spared this: it takes Redis as long as all else that it does with the value.
        kind += crc(value)
    if owner:
        return (b"w", key, kind, value, owner, condition)
    if len(value) > SHORT:
        return (b"p", key, kind, value, ttl, condition)
    if ttl or condition:
        return (b"p", key, kind, value, ttl, condition)
    return (kind, key, value)


def _transaction(write: Transaction) -> tuple[Argument, ...]:
    inner = (argument for part in write.writes for argument in _ARGUMENTS[type(part)](part))
    return (b"m", len(write.writes), *inner)


def _check_since(check: CheckSince) -> tuple[Argument, ...]:
    revision, store = check.since
    return (b"s", check.pattern, b"%d %b %d %b" % (revision, store, max(check.reached, revision), check.newest))


def _limited(write: Limited) -> tuple[Argument, ...]:
    return (b"q", write.quota, *_ARGUMENTS[type(write.write)](write.write))


_ARGUMENTS: dict[type, Callable[[Any], tuple[Argument, ...]]] = {
    Put: _put,
    Delete: lambda write: (b"d", write.key, write.condition),
    Touch: lambda write: (b"x", write.key, b"%d %b" % write[1:] if write.condition else write.ttl),
    Increment: lambda write: (b"i", write.key, write.amount),
    Transaction: _transaction,
    Limited: _limited,
    Check: lambda check: (b"c" if check.condition else b"k", check.key, check.condition),
    CheckNone: lambda check: (b"r", check.pattern[:-1], b""),
    CheckSince: _check_since,
}


def arguments_of(job: Job) -> Iterable[tuple[Argument, ...]]:
    """Those of each write of a job, for write.lua."""
    return [_ARGUMENTS[type(write)](write) for write in writes_of(job)]


def writes_of(job: Job) -> Iterable[AnyWrite]:
    """The writes of a job, one by one."""
    return requests_of(job.items) if job.simple else job.items  # type: ignore[arg-type]  # as simple says


def begun(job: Job, outcomes: list[bytes]) -> Job:
    """What is left of a job when some of its writes are done; one by one, so that it may be left at any of them."""
    if job.simple:
        job.items, job.simple = list(writes_of(job)), False
    if outcomes:
        job.begun = [*job.begun, *outcomes]
        job.items = job.items[len(outcomes) :]
        job.count = job.results = len(job.items)
    return job


def keys_of(job: Job) -> Iterable[bytes]:
    """The keys that a job may change, but for such as a number makes: they are new, and so nothing is kept of them."""
    if job.simple:
        keys: list[bytes] = job.items.keys  # type: ignore[attr-defined]  # as simple says
        return keys
    return chain.from_iterable(map(_keys_of_write, job.items))


def _keys_of_write(write: AnyWrite) -> Iterable[bytes]:
    if isinstance(write, Limited):
        write = write.write
    if isinstance(write, Transaction):
        return [part.key for part in write.writes if not isinstance(part, Demand)]
    return (write.key,)


def only_deletes(job: Job) -> bool:
    """Whether a job only deletes."""
    return all(isinstance(write, Delete) for write in job.items)
