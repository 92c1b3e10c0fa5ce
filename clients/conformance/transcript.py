"""Transcripts of conversations with a daemon: how they are read, and what of them a client can say.

    # text        a comment; empty lines are ignored too
    C: text       the line `text` is sent            C2: on a second connection, and so on
    S: text       the next line is `text`            S2:
    C~ S~ bytes   the same with line ends as they stand there, and with escapes: \\n \\r \\t \\\\ \\xHH \\{N text}
    @STORE        @ and the store's id
    ...           at the end of an S: line, behind a space: any text or none
    SECONDS       a time
    <closed>      alone in an S: line: the connection ends
    <half-close>  alone in a C: line: the sending side is shut down
    <close>       alone in a C: line: the connection is closed
    D: ...        of the daemon, which the kit does not rule: such a transcript is left out

Revisions count from a new store; on one that is older they are moved by the revision that it had.
"""

import base64
import re
from collections.abc import Iterable
from typing import NamedTuple

LARGEST = 10**6  # a greater number is no revision that a transcript made
_SECONDS = r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,3})?"
_PUT = re.compile(
    r"PUT (?P<key>[^ *]+)(?P<options>(?: (?:ttl=[1-9]\d{0,8}|if=(?:0|[1-9]\d*)|base64(?:=\d+)?))*) =(?: (?P<value>.*))?"
)


_CONDITIONAL = re.compile(r"((?:PUT|DEL|TOUCH|CHECK) [^ ]+)((?: [^ =][^ ]*)*)( =.*)?")
_REVISION = re.compile(r"^((?:PAIR|PAIR64|SIZE|GONE|CONFLICT|INFO revision) )(\d+)")
_LINE = re.compile(r"([CS])([2-9]?)([:~])(?: (.*))?")
_ESCAPE = re.compile(r"\\(?:([nrt\\])|x([0-9a-f]{2})|\{([1-9][0-9]*) ([^}]*)\})")
_CHARACTERS = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}


class Step(NamedTuple):
    """One line.  sent: by the client; peer: which connection, "" for the first; raw: whether its escapes are read."""

    number: int
    sent: bool
    peer: str
    text: str
    raw: bool = False


def steps_of(lines: Iterable[str]) -> list[Step] | None:
    """Parse a transcript; None if it is of the daemon's options, or stops it.  Raises ValueError."""
    steps = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("D: "):
            return None
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"line {number} is not of a transcript: {line!r}")
        sent, peer, text = match[1] == "C", match[2], match[4] or ""
        if match[3] == ":" or sent:
            steps.append(Step(number, sent, peer, text, match[3] == "~"))
        else:
            steps += [Step(number, False, peer, one.decode()) for one in unescaped(text).split(b"\n")[:-1]]
    return steps


def unescaped(text: str) -> bytes:
    """What C~ and S~ stand for."""
    data, place = b"", 0
    for match in _ESCAPE.finditer(text):
        data += text[place : match.start()].encode()
        character, byte, count, repeated = match.groups()
        if count:
            data += int(count) * unescaped(repeated)
        else:
            data += _CHARACTERS[character] if character else bytes.fromhex(byte)
        place = match.end()
    return data + text[place:].encode()


def operation(text: str) -> dict[str, str] | None:
    """What an adapter is asked for this request, or None if it is none of the five that every client has."""
    verb, _, rest = text.partition(" ")
    verb = verb.upper()
    if verb == "GET" and re.fullmatch(r"[^ ]+", rest):
        return {"op": "get", "key": rest}
    if verb == "SET" and (match := re.fullmatch(r"([^ ]+) (.*)", rest)):
        return {"op": "set", "key": match[1], "value": match[2]}
    if verb == "DEL" and (match := re.fullmatch(r"([^ *]+)(?: if=(0|[1-9]\d*))?", rest)):
        return {"op": "del", "key": match[1]} | ({"if": match[2]} if match[2] else {})
    return _put(text)


def _put(text: str) -> dict[str, str] | None:
    match = _PUT.fullmatch(text)
    if not match:
        return None
    named = [word.partition("=") for word in match["options"].split()]
    options = {name: value for name, _, value in named}
    if len(options) != len(named):
        return None
    asked = {"op": "put", "key": match["key"]} | {name: options[name] for name in ("ttl", "if") if name in options}
    if "base64" not in options:
        return asked | {"value": match["value"] or ""}
    encoded = match["value"] or ""
    try:
        value = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    exact = base64.b64encode(value).decode() == encoded and options["base64"] in ("", str(len(value)))
    return asked | {"value64": encoded} if exact else None


def moved_request(text: str, by: int) -> str:
    """A request with the revisions of the store that it is for."""
    text = _moved_names(_moved_positions(text, by), by)
    if match := _CONDITIONAL.fullmatch(text):
        options = re.sub(r" if=(\d+)(?= |$)", lambda found: f" if={_moved(found[1], by)}", match[2])
        text = match[1] + options + (match[3] or "")
    return text


def moved_reply(request: str, text: str, by: int) -> str:
    """A line that answers a request, or is pushed."""
    text = _moved_names(_moved_positions(text, by), by)
    text = _REVISION.sub(lambda found: found[1] + _moved(found[2], by), text)
    verb = request.partition(" ")[0].upper()
    if verb in ("SET", "PUT", "DEL", "COMMIT", "GETS"):
        text = re.sub(r"^(OK(?:64)? )(\d+)(?= |$)", lambda found: found[1] + _moved(found[2], by), text)
    return text


def is_as_expected(line: str, text: str) -> bool:
    """Whether a line is what an expected one, which may have marks, stands for."""
    if not text.endswith(" ...") and "SECONDS" not in text:
        return line == text  # an expression of a megabyte takes seconds
    pattern = re.escape(text).replace(r"\ \.\.\.", "( .*)?").replace("SECONDS", _SECONDS)
    return re.fullmatch(pattern, line) is not None


def _moved(number: str, by: int) -> str:
    return number if number == "0" or number != str(int(number)) or int(number) > LARGEST else str(int(number) + by)


def _moved_positions(text: str, by: int) -> str:
    """All but if=0@STORE, which is no revision."""
    return re.sub(r"\b(?!(?<=if=)0@)(\d+)@STORE", lambda found: f"{_moved_position(found[1], by)}@STORE", text)


def _moved_position(number: str, by: int) -> str:
    return str(by) if number == "0" else _moved(number, by)


def _moved_names(text: str, by: int) -> str:
    """What PUT prefix* has made."""
    return re.sub(r"(?<!\d)0\d{15}(?!\d)", lambda found: f"{int(found[0]) + by:016}", text)
