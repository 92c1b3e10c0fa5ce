"""What text no line carries."""

FORBIDDEN = [*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
"""Code points that no line carries (protocol.txt, 2)."""
