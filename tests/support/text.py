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


ACTING = "".join(
    map(chr, (*range(9), *range(0xB, 0x20), *range(0x7F, 0xA0), 0x61C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029))
) + "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\U000e0041"  # fmt: skip
"""Characters that move the cursor, make the terminal answer, change the direction of text, or are not seen."""
