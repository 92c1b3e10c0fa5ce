"""What may be wrong in a store, and what is done about it."""

from typing import NamedTuple

from kvd.errors import one_line

_TEXTS = {
    "meta": ("its own field {key} is {more!r}", ""),
    "record": ("the record of {key} cannot be read", ""),
    "ahead": ("{key} has revision {more}, which is after the store's own", "the revisions go on after it"),
    "not-listed": ("{key} is not in the index: it is not listed", "it is listed"),
    "deadline": ("{key} is to end at {more} (0: never), and another time is noted", "that is noted"),
    "not-owned": ("{key} lives with {more}, which is not noted there", "it is noted"),
    "orphan": ("{key} lives with {more}, which is not there", "it lives on by itself"),
    "owned-owner": ("{more} lives with {key}, which lives with another key itself", ""),
    "unmarked": ("{more} lives with {key}, whose record does not say so", "it says so"),
    "no-value": ("the value of {key} (revision {more}) is missing, or not whole", ""),
    "doubtful": ("the value of {key} (revision {more}) may be damaged, as its entry in the change log is", ""),
    "index-extra": ("{key} is listed, and is not there", "it is not listed"),
    "ttl-extra": ("{key} is to end, and is not there", "that is forgotten"),
    "owned-extra": ("it is noted that one key lives with another, which is not so: {key}", "that is forgotten"),
    "replaced-extra": ("revision {key} is noted as replaced, and has no large value", "that is forgotten"),
    "value-extra": ("nothing refers to the large value of revision {key}", "it is dropped"),
    "log": ("the change log is damaged at revision {key}: {more}", "the history is replaced by a new one"),
    "unlogged": ("{key} has revision {more}, at which the change log has no such key: one of the two is damaged", ""),
    "log-record": ("{key} is not as the change log has it at revision {more}", "it is as the change log has it"),
}  # fmt: skip
"""Of each word the text, and what mends it, "" for what nothing does."""


class Finding(NamedTuple):
    """word: what is wrong.  key, more: of which key or revision, and what else is to be known."""

    word: str
    key: bytes = b""
    more: bytes = b""

    @property
    def text(self) -> str:
        """In one line for people."""
        what, _ = _TEXTS[self.word]
        names = [one_line(part.decode(errors="backslashreplace")) for part in (self.key, self.more)]
        return what.format(key=names[0], more=names[1])

    @property
    def mending(self) -> str:
        """What mends it, "" if nothing does."""
        return _TEXTS[self.word][1]
