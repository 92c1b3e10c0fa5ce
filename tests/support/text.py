"""What text no line carries, and the word that some texts begin with."""

import re

FORBIDDEN = [*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
"""Code points that no line carries (protocol.txt, 2)."""

_RETRY = re.compile(r"^((?:ERR unavailable|END \S+ (?:shutdown|compacted)) )retry=(?:0|[1-9][0-9]?)\.[0-9]{3} ")


def without_retry(line: str) -> str:
    """A line that says when to come back, as it must, without that word."""
    rest, found = _RETRY.subn(r"\1", line)
    assert found, line
    return rest
