"""What the log is told of the settings."""

from typing import Any

from kvd.addresses import Address
from kvd.memory import readable
from kvd.options import Option
from kvd.settings.fields import OPTIONS, Settings


def told(settings: Settings) -> dict[str, object]:
    """Every option and its value, for the log: of what may hold a password only whether it was given."""
    return {option.name.removeprefix("--"): _told(option, getattr(settings, option.field)) for option in OPTIONS}


def _told(option: Option, value: Any) -> object:
    if option.secret:
        return "***" if value else ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return value if isinstance(value, bool | int | float) else "" if value is None else str(value)


def described(settings: Settings) -> str:
    """The plan of memory, for the log."""
    plan, available = settings.memory, settings.memory.available
    changes, size = plan.retention(settings.history_changes, settings.history_bytes)
    parts = [
        f"{readable(available.size)} by {available.by}" if available.size else "nobody knows how much there is",
        f"the store {readable(plan.store)}" if plan.store else "the store without limit",
        f"with up to {changes} changes and {readable(size)} of its change log",
        f"connections {readable(plan.connections)}" if plan.connections else "connections without limit",
        f"caches {readable(plan.caches)}",
        f"each process keeps {readable(settings.read_cache)} of what was read",
    ]
    return ", ".join(parts)


def unused(settings: Settings) -> str:
    """Which options are given that nothing uses, and what would; "" for none.

    What an image sets is one of them, wherever it is to listen: so it is no error.
    """
    if any(isinstance(address, Address) and address.tls for _, address in settings.addresses):
        return ""
    files = {"cert": settings.tls_cert, "key": settings.tls_key, "client-ca": settings.tls_client_ca}
    given = [f"--tls-{name}" for name, file in files.items() if file]
    if not given:
        return ""
    return f"no address takes TLS, so {', '.join(given)} is of no use: expected --listen tls:HOST:PORT as well"
