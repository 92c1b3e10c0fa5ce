"""Text that may come from anybody, made safe to show to a person."""

import re

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, which move a terminal's cursor, or make it answer
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what changes the direction of the text around it
    "\u2028\u2029"  # ends of lines
    "\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # what nobody sees
    "\ud800-\udfff]"  # what stands for bytes that are not UTF-8
)
# The joiners U+200C and U+200D are not among them: Persian, Hindi and emoji are written with them.


def visible(text: str, kept: str = "") -> str:
    r"""Write every character that acts on a terminal, or hides there, as \x1b, \u202e or \U000e0041.

    kept: characters to leave as they are.  A backslash is left, too: what is shown is for people.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in kept else _escape(ord(found[0])), text)


def visible_value(value: bytes) -> str:
    r"""Write a value so, with its lines and TABs; a byte that is not UTF-8 is \xff."""
    return visible(value.decode(errors="backslashreplace"), kept="\t\n")


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
