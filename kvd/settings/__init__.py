"""What may be chosen: the daemon's settings, each an option.

fields   all of them, with their defaults, readers and help
reading  what was given in several places, put together and checked
telling  what the log is told of them
"""

from kvd.settings.fields import GIB, KIB, MIB, OPTIONS, REPLICA, Settings
from kvd.settings.reading import check_alone, read
from kvd.settings.telling import described, told, unused

__all__ = ["GIB", "KIB", "MIB", "OPTIONS", "REPLICA", "Settings", "check_alone", "described", "read", "told", "unused"]
