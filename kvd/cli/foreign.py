"""The keys of other systems: what etcd and Consul export, and the strings of a Redis."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from kvd.cli.entries import BadEntry, decoded
from kvd.cli.output import say
from kvd.cli.progress import Advance
from kvd.cli.status import LOST, USAGE, Failure
from kvd.cli.writes import Writes, source

HEAD = 1 << 16
"""Bytes in which a document begins."""
BEFORE = b" \t\r\n\0\xef\xbb\xbf\xfe\xff"
"""What stands before it: white space, also of UTF-16, and byte order marks."""
BEGINNINGS = (b"{", b"[")
BATCH = 500
"""Keys of a Redis that are asked for at once."""
PATIENCE = 30.0
"""Seconds that a Redis may take for a batch."""


def etcd(writes: Writes, path: str | None, advance: Advance) -> None:
    """Take what `etcdctl get --prefix -w json` prints."""
    found = _document(path, "what etcdctl get --prefix -w json prints", dict)
    if found.get("more"):
        raise Failure(USAGE, "there are more keys than the file has: expected what etcdctl get prints without --limit")
    leased = 0
    for number, kv in enumerate(_entries(found.get("kvs", [])), 1):
        leased += bool(kv.get("lease"))
        _take(writes, number, kv, lambda kv: _text(decoded(_name(kv))))
        advance(1)
    if leased:
        say(f"{leased} keys have a lease, whose time is not in the file: they will not expire")


def consul(writes: Writes, path: str | None, advance: Advance) -> None:
    """Take what `consul kv export` prints."""
    for number, kv in enumerate(_entries(_document(path, "what consul kv export prints", list)), 1):
        _take(writes, number, kv, _name)
        advance(1)


def _document(path: str | None, what: str, kind: type) -> Any:
    with source(path) as file:
        data = file.read(HEAD)
        try:
            if data.lstrip(BEFORE)[:1] in BEGINNINGS:  # what is no document may have no end
                data += file.read()
            found = json.loads(data)
        except MemoryError:
            raise Failure(USAGE, f"there is too little memory for {what}", "nothing was written") from None
        except (ValueError, RecursionError):
            raise Failure(USAGE, f"expected {what}, which is JSON", "nothing was written") from None
    if not isinstance(found, kind):
        raise Failure(USAGE, f"expected {what}", "nothing was written")
    return found


def _entries(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(kv, dict) for kv in found):
        raise Failure(USAGE, "expected a list of objects with key and value", "nothing was written")
    return found


def _take(writes: Writes, number: int, kv: dict[str, Any], key: Callable[[dict[str, Any]], str]) -> None:
    """Both leave out a value that is empty, or have null."""
    place = f"key {number}"
    try:
        writes.take(place, key(kv), decoded(kv.get("value") or ""))
    except (KeyError, TypeError):
        writes.complain(place, 'expected a "key", and a "value" in base64')
    except BadEntry as error:
        writes.complain(place, str(error))


def _name(kv: dict[str, Any]) -> str:
    if not isinstance(kv["key"], str):
        raise TypeError
    return kv["key"]


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise BadEntry(f"the key {key!a} is not UTF-8") from None


def redis(writes: Writes, url: str | None, advance: Advance) -> None:
    """Take the strings of a Redis, with their times to live."""
    if not url or "://" not in url:
        raise Failure(USAGE, "import --from redis: expected the URL of a Redis, such as redis://127.0.0.1:6379/0")
    try:
        import redis as client
    except ImportError:
        raise Failure(USAGE, "import --from redis needs the Python package redis") from None
    others = 0
    try:
        with client.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE) as server:
            for keys in _batches(server.scan_iter(count=BATCH)):
                others += _take_strings(writes, server, keys, client.ResponseError)
                advance(len(keys))
    except ValueError as error:
        raise Failure(USAGE, f"import --from redis: {error}") from None
    except client.RedisError as error:
        raise Failure(LOST, f"import --from redis: {error}", "nothing was written") from None
    if others:
        say(f"{others} keys are no strings, and left out")


def _batches(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    return iter(lambda: list(islice(keys, BATCH)), [])


def _take_strings(writes: Writes, server: Any, keys: Sequence[bytes], wrong_type: type[Exception]) -> int:
    """Take each key with its time to live, of one moment; return how many are no strings."""
    with server.pipeline(transaction=True) as together:
        for key in keys:
            together.get(key)
            together.pttl(key)
        answers = iter(together.execute(raise_on_error=False))
    others = 0
    for key, value, left in zip(keys, answers, answers, strict=False):
        if isinstance(value, wrong_type):
            others += 1
        elif value is not None:  # it has not gone meanwhile
            place = f"key {key.decode(errors='backslashreplace')}"
            try:
                writes.take(place, _text(key), value, max(left, 1) / 1000 if left >= 0 else None)
            except BadEntry as error:
                writes.complain(place, str(error))
    return others


READERS: dict[str, Callable[[Writes, str | None, Advance], None]] = {"etcd": etcd, "consul": consul, "redis": redis}
