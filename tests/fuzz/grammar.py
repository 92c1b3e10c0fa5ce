"""The lines that a server may send, as protocol.txt, 14 has them."""

import re

_TEXT = "[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*"
_KEY = r"[^\s\x00-\x1f\x7f-\x9f*]+"
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_NUMBER = r"(?:0|[1-9][0-9]{0,15})"
_SECONDS = r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,3})?"
_WORD = r"[!-)+-~]+"
_POSITION = rf"{_NUMBER}@{_WORD}"
_CHANGE = rf"(?:SET {_KEY} {_TEXT}|SET64 {_KEY} {_BASE64}|SIZE {_KEY} {_NUMBER}|(?:DEL|EXPIRE) {_KEY})"

_STATUS = re.compile(
    rf"OK(?: {_TEXT})?|OK64 (?:{_NUMBER} )?{_BASE64}|NONE|CONFLICT {_NUMBER}(?: {_KEY})?|ERR {_WORD} {_TEXT}"
)
_ITEM = re.compile(
    rf"KEY {_KEY}|PAIR {_NUMBER} {_KEY} {_TEXT}|PAIR64 {_NUMBER} {_KEY} {_BASE64}|SIZE {_NUMBER} {_KEY} {_NUMBER}"
    rf"|GONE {_NUMBER} {_KEY}"
    rf"|COPY (?:new|compacted|store|future)|CHANGED {_POSITION} {_CHANGE}|INFO {_WORD} {_TEXT}|HELP {_TEXT}"
)
_PUSH = re.compile(rf"CHANGE {_POSITION} {_CHANGE}|PROGRESS {_POSITION}|END {_POSITION} {_WORD} {_TEXT}")
_BESIDE = re.compile(rf"BATCH {_NUMBER}|TIME {_NUMBER}|TTL {_SECONDS} {_KEY}|WITH {_KEY} {_KEY}")


def kind(raw: bytes) -> str:
    """What a line, without its LF, is: "status", "item", "push", or "beside": of an item or a pushed line beside it.

    Raises ValueError if it is none.
    """
    line = raw.decode()
    for name, expression in (("status", _STATUS), ("item", _ITEM), ("push", _PUSH), ("beside", _BESIDE)):
        if expression.fullmatch(line):
            return name
    raise ValueError(f"no line of the protocol: {raw[:200]!r}")
