"""Memory that several processes share."""

import os
import sys


def share(name: str, size: int) -> int:
    """A descriptor of so many bytes, all 0, which live as long as a process has it open.  Raises OSError.

    name: for those who look at what a process has open.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create(name)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, size)
    return descriptor
