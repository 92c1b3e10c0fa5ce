"""What the daemon reads from files at its start, and reads anew when it is told to (SIGHUP): all of it, or nothing."""

from typing import NamedTuple

from kvd.settings import Settings


class Reloadable(NamedTuple):
    """What was read.  It is given to each worker as it is, so that all have the same."""

    @classmethod
    def read(cls, settings: Settings) -> "Reloadable":  # noqa: ARG003
        """Read the files that the settings name.  Raises StartError that says which cannot be used, and why."""
        return cls()


NOTHING = Reloadable()


def is_any(settings: Settings) -> bool:  # noqa: ARG001
    """Whether the settings name any such file."""
    return False
