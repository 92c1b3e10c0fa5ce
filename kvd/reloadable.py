"""What the daemon reads from files at its start, and reads anew when it is told to (SIGHUP): all of it, or nothing.

With it goes what is no file: how many replicas the store has, where all of them must confirm.
"""

from pathlib import Path
from typing import NamedTuple

from kvd import certificates
from kvd.access.users import Users
from kvd.certificates import Certificates
from kvd.errors import StartError
from kvd.settings import Settings


class Reloadable(NamedTuple):
    """What was read.  It is given to each worker as it is, so that all have the same.

    certificates: None if nothing listens with TLS.  users: None if everybody may do everything.
    """

    certificates: Certificates | None = None
    users: Users | None = None

    @classmethod
    def read(cls, settings: Settings) -> "Reloadable":
        """Read the files that the settings name.  Raises StartError that says which cannot be used, and why."""
        if settings.audit and not settings.users:
            raise StartError("--audit: without users there is nobody to tell of: expected --users FILE beside it")
        given = (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        found = certificates.read(*given) if _has_tls(settings) else None
        if found:
            found.warn()
        return cls(found, _users(settings.users) if settings.users else None)


NOTHING = Reloadable()


def is_any(settings: Settings) -> bool:
    """Whether there is anything to read, or to learn, anew."""
    return _has_tls(settings) or bool(settings.users) or settings.durability == "replica=all"


def _users(file: str) -> Users:
    from kvd.access.users_file import load

    return load(Path(file), "--users")


def _has_tls(settings: Settings) -> bool:
    return bool(settings.tls_cert and settings.tls_key)
