"""Bytes to lines, with bounded memory, however the bytes are cut into chunks (protocol.txt, 2 and 12)."""

import codecs
import re
from collections.abc import Callable

from kvd.errors import NotAClient, TooLong

TELNET_IAC = 0xFF
"""The byte that begins a telnet command (RFC 854); never part of UTF-8."""

_STRANGERS = (b"POST ", b"PROXY ", b"SSH-")
_STRANGER_HEADER = b"host:"
_LONGEST_MARK = 6
LONGEST_VERB = 64
"""Bytes in which a verb must end."""
_HTTP_REQUEST = re.compile(
    rb"(?:[^ ]+ (?:/|(?i:https?)://)[^ ]*|(?:PRI|OPTIONS) \*) HTTP/[0-9]+(?:\.[0-9]+)?"
).fullmatch
"""What a browser or curl sends first, whatever its method, such as SET; `PRI *` begins HTTP/2."""
_CONTROL = re.compile(rb"[\x08\x0B\x0C\x0E-\x1F\x7F]|[^ ]*?[\x00-\x07]").match
"""What no client begins with, and TLS does; and what no word has, though it was typed with keys that edit a line, and
what begins with a length has soon: LDAP, MongoDB, X11."""

STRANGER = "this is a line of HTTP or of the PROXY protocol or SSH; kvd speaks none of them here (HTTP: kvd --http)"
BYTE_ORDER_MARK = "the line begins with a byte order mark; send UTF-8 without one"
NUL = "the line has NUL characters, as UTF-16 has; send UTF-8"
_NOT_UTF8 = "the first line is not UTF-8 (is it TLS, UTF-16 or Latin-1?); send UTF-8"
_INTERRUPT = "there is a byte 0xFF, as of telnet's Ctrl-C or of UTF-16; send UTF-8"

NO_VERB = "the first line begins with no verb: this is another protocol (--first-line strict)"

_BOM = codecs.BOM_UTF8
_EMPTY = (b"", b"\r")
"""Lines without anything in them."""

Line = bytes | TooLong | NotAClient


def max_line(max_value: int) -> int:
    """The longest line, in bytes without its end, for values of up to `max_value` bytes.

    A value in base64 grows by a third; 2 KiB leave room for the verb, the key and the options.
    """
    return -(-max_value * 4 // 3) + 2048


def is_stranger(line: bytes | bytearray) -> bool:
    """Whether a line, or its beginning, is that of a browser, a proxy or SSH."""
    head = line[:_LONGEST_MARK]
    return head.startswith(_STRANGERS) or head[:5].lower() == _STRANGER_HEADER


def begins_with_mark(line: bytes | bytearray) -> bool:
    """Whether a line, or its beginning, begins with a byte order mark."""
    return line.startswith(_BOM)


def _split(data: bytes) -> list[bytes]:
    """As data.split(b"\\n"), which takes ten times as long for a piece of a large value."""
    end = data.find(b"\n")
    if end < 0:
        return [data]
    if data.find(b"\n", end + 1) < 0:
        return [data[:end], data[end + 1 :]]
    return data.split(b"\n")


class LineBuffer:
    """Collects bytes and gives whole lines, without their ends.

    A line over the limit comes out as one `TooLong`, and is dropped as it arrives.  What only a stranger
    sends comes out as one `NotAClient`, the last item ever: all input after it is ignored.  A stranger's
    line that is complete comes out as a line: it has no verb, and the table of verbs then asks `is_stranger`.
    """

    def __init__(self, limit: int, is_verb: Callable[[bytes], bool] | None = None) -> None:
        """limit: int, bytes a line may have without its end.

        is_verb: with what the first line that is not empty must begin, or it is a stranger's; None: with anything.
        """
        self._limit = limit
        self._is_verb = is_verb
        # Whether a line that is not empty has come.
        self._begun = False
        self._open = bytearray()
        self._skipping = False
        self._ended = False
        self._number = 0
        # Until it is over, the first line that is not empty.
        self._first: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    @property
    def is_amid(self) -> bool:
        """Whether a line has begun whose end has not come."""
        return bool(self._open)

    @property
    def begun(self) -> int | None:
        """The number of the line that has begun, also of one that is skipped; None: there is none.

        It may leave some out: no two lines have the same.
        """
        return self._number if self._open or self._skipping else None

    @property
    def is_first(self) -> bool:
        """Whether no line has ended yet."""
        return self._number == 0 and not self._skipping

    @property
    def held(self) -> int:
        """Bytes that the line takes which has begun; what grows is given an eighth to spare."""
        return len(self._open) * 9 // 8

    def drop(self) -> None:
        """Forget what has begun: nothing more will be fed."""
        self._ended = True
        self._open.clear()

    @property
    def between(self) -> bool:
        """Whether a line has come, and no other has begun: what comes next is a line's beginning."""
        return self._begun and not (self._open or self._first or self._skipping or self._ended)

    def feed(self, data: bytes) -> list[Line]:
        """Take the next chunk and give the lines that it completes."""
        if self._ended:
            return []
        interrupt = data.find(TELNET_IAC)
        *pieces, tail = _split(data if interrupt < 0 else data[:interrupt])
        items: list[Line] = []
        done = 0
        if pieces and (self._open or self._skipping or self._first):
            self._complete(pieces[0], items)
            done = 1
        while done < len(pieces) and not (self._begun or self._ended):
            if pieces[done] in _EMPTY:
                items.append(b"")
                self._number += 1
            else:
                self._complete(pieces[done], items)
            done += 1
        if done < len(pieces) and not self._ended:
            items.extend(self._whole(pieces[done:]))
        if tail and not self._ended:
            self._hold(tail, items)
            # A stranger's line ends it all even if its LF never comes.
            if is_stranger(self._open):
                self._end(STRANGER, items)
        if interrupt >= 0 and not self._ended:
            self._end(_INTERRUPT, items)
        return items

    def _whole(self, pieces: list[bytes]) -> list[Line]:
        """Lines that came whole in one chunk."""
        lines = [piece.removesuffix(b"\r") for piece in pieces]
        if any(len(line) > self._limit for line in lines):
            return [self._too_long() if self._exceeds_limit(line) else line for line in lines]
        return list(lines)

    def _complete(self, piece: bytes, items: list[Line]) -> None:
        """The last part of the present line has come."""
        self._hold(piece, items)
        self._finish(items)

    def _exceeds_limit(self, line: bytes) -> bool:
        return len(line) > self._limit and not is_stranger(line)

    def _hold(self, piece: bytes, items: list[Line]) -> None:
        """Keep a part of the present line, unless that makes it too long."""
        if self._skipping:
            return
        if self._first and (why := self._why_no_client(self._first, piece)):
            self._end(why, items)
            return
        self._open += piece
        # A CR at the very end may yet turn out to belong to the line's end.
        if len(self._open) > self._limit + self._open.endswith(b"\r"):
            self._overflow(items)

    def _overflow(self, items: list[Line]) -> None:
        if is_stranger(self._open):
            self._end(STRANGER, items)
            return
        if not self._begins_well():
            self._end(NO_VERB, items)
            return
        self._open.clear()
        self._first = None
        self._skipping = True
        items.append(self._too_long())

    def _why_no_client(self, decoder: codecs.IncrementalDecoder, piece: bytes) -> str:
        """What is wrong with the beginning of a first line that goes on with a piece; "" if nothing is."""
        begun, most = len(self._open), self._limit + 1
        head = (self._open[:LONGEST_VERB] + piece[:LONGEST_VERB])[: min(LONGEST_VERB, most)]
        control = _CONTROL(head) if begun < len(head) else None
        if control:
            most = control.end() - 1
        if len(self._open) < len(_BOM) and begins_with_mark(self._open + piece[: len(_BOM)]):
            return BYTE_ORDER_MARK
        try:
            decoder.decode(piece[: max(0, most - begun)])
        except UnicodeDecodeError:
            return _NOT_UTF8
        return _told(control) if control else ""

    def _finish(self, items: list[Line]) -> None:
        """The LF of the present line has come."""
        if self._ended:
            return
        if self._open.endswith(b"\r"):
            del self._open[-1:]
        if self._first and self._first.getstate()[0]:
            self._end(_NOT_UTF8, items)
            return
        if not self._begun and _HTTP_REQUEST(self._open):
            self._end(STRANGER, items)
            return
        if self._open:
            self._first = None
        if not (self._skipping or self._begins_well()):
            self._end(STRANGER if is_stranger(self._open) else NO_VERB, items)
            return
        if not self._skipping:
            items.append(bytes(self._open))
        self._number += 1
        self._skipping = False
        self._open.clear()

    def _begins_well(self) -> bool:
        """Whether the present line begins as the first one must, or need not."""
        if not self._begun and self._open:
            if self._is_verb and not self._is_verb(bytes(self._open[:LONGEST_VERB]).partition(b" ")[0]):
                return False
            self._begun = True
        return True

    def _too_long(self) -> TooLong:
        return TooLong(f"a line has at most {self._limit} bytes; this one was skipped to its end")

    def _end(self, why: str, items: list[Line]) -> None:
        self._ended = True
        self._open.clear()
        items.append(NotAClient(why))


def _told(control: re.Match[bytes]) -> str:
    where = "the first word has" if control.end() > 1 else "the connection begins with"
    return f"{where} a control character (0x{control[0][-1]:02X}), as of TLS or UTF-16; send UTF-8 text"
