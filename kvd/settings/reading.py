"""What was given, on the command line, in the environment and in a file: put together, and checked together."""

from collections.abc import Container, Mapping
from dataclasses import replace

from kvd.addresses import Address
from kvd.credentials import url_in_file
from kvd.errors import StartError
from kvd.group_url import is_group
from kvd.memory import UNKNOWN, Available, MemoryPlan
from kvd.options import Given
from kvd.settings.fields import OPTIONS, REPLICA, Settings

LEAST_STALE = 0.1
"""Seconds; what is asked of the daemon that is followed takes a part of that."""
_CONFIG, *_IN_FILE = OPTIONS
"""A configuration file names no other."""


def read(options: Mapping[str, object], environment: Mapping[str, str], available: Available = UNKNOWN) -> Settings:
    """Settings from docopt's options, else from KVD_... in the environment, else from --config, else the defaults.

    available: how much memory there is, by which some defaults are less.
    Raises StartError that names the option and what it takes.
    """
    config = _CONFIG.given(options, environment)
    given = _in_file(config) if config else {}
    given |= {option.field: found for option in OPTIONS if (found := option.given(options, environment))}
    _leave_one_store(given)
    _leave_edge(given)
    values = {option.field: option.value(given[option.field]) for option in OPTIONS if option.field in given}
    if "store_file" in given:
        values["store"] = url_in_file(values["store_file"], given["store_file"].where)
    settings = Settings(**values)
    _check_tls(settings)
    _check_group(settings)
    if settings.http_write and not settings.http:
        raise StartError("--http-write: expected --http ADDR beside it")
    if bool(settings.follow_user) != bool(settings.follow_password_file):
        raise StartError("--follow-user and --follow-password-file: one of them is given; expected both")
    if itself := set(settings.follow) & set(map(str, settings.listen)):
        raise StartError(f"--follow {itself.pop()}: this daemon itself: expected another one")
    if settings.follow and settings.max_stale < LEAST_STALE:
        raise StartError(f"--max-stale: what an edge shows may be {LEAST_STALE} s old at the least")
    return _complete(settings, values, available)


def _in_file(config: Given) -> dict[str, Given]:
    from kvd import config_file

    return config_file.read(config, _IN_FILE)


def _leave_edge(given: dict[str, Given]) -> None:
    """Leave out what goes with a store of one's own, of a daemon that has none, if it is in a weaker place.

    Raises StartError if it is not.
    """
    follow = given.get("follow")
    if not follow:
        return
    for name, why in _NOT_OF_AN_EDGE.items():
        if name in given and given[name].place >= follow.place:
            raise StartError(f"{given[name].where} and {follow.where}: {why}: expected one of them")
        given.pop(name, None)
    workers = given.get("workers")
    if workers and workers.texts != ["1"]:
        raise StartError(f"{workers.where} and {follow.where}: an edge is one process; start several of them instead")


_NOT_OF_AN_EDGE = {
    "store": "an edge has no store, but a copy",
    "store_file": "an edge has no store, but a copy",
    "data": "an edge keeps nothing on disk",
    "engine": "an edge has no store, but a copy",
    "fsync": "an edge keeps nothing on disk",
}


def _check_tls(settings: Settings) -> None:
    """Raises StartError if what TLS needs is not there."""
    for name, listen in settings.addresses:
        if isinstance(listen, Address) and listen.tls and not (settings.tls_cert and settings.tls_key):
            raise StartError(f"{name} {listen}: expected --tls-cert FILE and --tls-key FILE as well")


def _check_group(settings: Settings) -> None:
    """Raises StartError if there are no replicas to wait for, or to read from."""
    if is_group(settings.store):
        return
    expected = "expected --store redis+sentinel://... or redis+cluster://... as well: one Redis has no replicas"
    if settings.durability:
        raise StartError(
            f"--durability {settings.durability}: {expected}, and what it keeps is as durable as its appendfsync, or "
            "--fsync, says"
        )
    if settings.log_from == REPLICA:
        raise StartError(f"--log-from {REPLICA}: {expected}")


def _leave_one_store(given: dict[str, Given]) -> None:
    """Of --store and --store-file leave the one in the stronger place.  Raises StartError."""
    url, file = given.get("store"), given.get("store_file")
    if url and file:
        if url.place == file.place:
            raise StartError(f"{url.where} and {file.where}: both name a store: expected one of them")
        del given["store" if file.place > url.place else "store_file"]


def _complete(settings: Settings, given: Container[str], available: Available) -> Settings:
    """With what follows from the options; given: the fields that are not as they are by default."""
    memory = MemoryPlan.of(available, settings.max_memory)
    if settings.connection_memory is not None:
        memory = replace(memory, connections=settings.connection_memory)
    if settings.store:
        memory = replace(memory, store=0, asked=0)
    planned = memory.read_cache(settings.read_cache, settings.workers)
    return replace(
        settings,
        memory=memory,
        read_cache=settings.read_cache if "read_cache" in given else planned,
        notes=settings.data if settings.store and "data" in given else None,
    )


def check_alone(settings: Settings) -> None:
    """Raises StartError if there is nobody to follow, and it is said how."""
    for option in OPTIONS:
        if option.field.startswith("follow_") and getattr(settings, option.field):
            raise StartError(f"{option.name}: expected --follow ADDR beside it")
