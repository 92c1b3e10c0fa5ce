"""What the daemon reads from files at its start, and reads anew when it is told to (SIGHUP): all of it, or nothing."""

from typing import NamedTuple

from kvd import certificates
from kvd.certificates import Certificates
from kvd.settings import Settings


class Reloadable(NamedTuple):
    """What was read.  It is given to each worker as it is, so that all have the same.

    certificates: None if nothing listens with TLS.
    """

    certificates: Certificates | None = None

    @classmethod
    def read(cls, settings: Settings) -> "Reloadable":
        """Read the files that the settings name.  Raises StartError that says which cannot be used, and why."""
        given = (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        return cls(certificates.read(*given) if is_any(settings) else None)


NOTHING = Reloadable()


def is_any(settings: Settings) -> bool:
    """Whether the settings name any such file."""
    return bool(settings.tls_cert and settings.tls_key)
