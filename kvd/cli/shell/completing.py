"""What TAB offers: verbs, as the daemon has them, keys that there are, and options."""

from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from kvd.cli.escape import visible
from kvd.cli.shell.asking import Asking

MOST = 50
"""Keys that are offered at once; of more, what they begin with up to the next `/`."""

_KEY_SECOND = frozenset(
    ("GET", "GETS", "TTL", "SET", "PUT", "DEL", "TOUCH", "INCR", "CHECK", "KEYS", "LIST", "COUNT", ".bytes", ".file")
)
_KEYS_FROM = {"WATCH": 1, "SYNC": 1, "RESUME": 2, "FOLLOW": 2, "CHANGES": 2}
"""The verbs with any number of patterns, and the words before them."""
_WATCH_OPTIONS = ("*keys", "*batches", "*time", "*ttl", "*only=")
_OPTIONS = {
    "PUT": ("ttl=", "with=", "if=", "base64", "= "),
    "DEL": ("if=", "limit="),
    "TOUCH": ("ttl=", "if="),
    "CHECK": ("if=", "since="),
    "KEYS": ("after=", "before=", "with=", "limit=", "reverse", "fold="),
    "LIST": ("after=", "before=", "with=", "limit=", "reverse", "fold="),
}
_OWN = (".bytes", ".file")


class WordCompleter(Completer):
    """Completes the word at the end of the line before the cursor."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._verbs: dict[str, str] = {}

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Nothing: the daemon must be asked, and not be waited for."""
        return ()

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion, None]:
        """Yield what the word may become."""
        *before, word = document.current_line_before_cursor.split(" ")
        if not before:
            for verb, help_text in (await self._all_verbs()).items():
                written = verb.lower() if word.islower() else verb  # only so it begins with what stands there
                if written.startswith(word):
                    yield Completion(f"{written} ", -len(word), display=written, display_meta=help_text)
            return
        verb = before[0] if before[0].startswith(".") else before[0].upper()
        if verb == "HELP" and len(before) == 1:
            for name in await self._all_verbs():
                if name.startswith(word.upper()) and name.isalpha():
                    yield Completion(name, -len(word))
            return
        for option in _options(verb, len(before)):
            if option.startswith(word):
                yield Completion(option, -len(word))
        if _is_key(verb, len(before), word):
            for key in await self._keys(word):
                yield Completion(key, -len(word))

    async def _all_verbs(self) -> dict[str, str]:
        """Each verb with what it does."""
        if not self._verbs:
            for line in await self._asking.ask(b"HELP") or ():
                usage, _, help_text = line.decode(errors="replace").removeprefix("HELP ").partition("  ")
                self._verbs[visible(usage.split(" ")[0])] = visible(help_text.strip())
        return {**self._verbs, **dict.fromkeys(_OWN, "of the shell itself")} if self._verbs else {}

    async def _keys(self, word: str) -> list[str]:
        """The keys that begin so; of too many, the directories that they are in."""
        pattern = word.encode(errors="replace") + b"*"
        found = await self._asking.ask(b"KEYS %b limit=%d" % (pattern, MOST + 1)) or []
        if len(found) > MOST:
            found = (await self._asking.ask(b"KEYS %b fold=/ limit=%d" % (pattern, MOST)) or found)[:MOST]
        keys = (line.decode(errors="replace").removeprefix("KEY ") for line in found)
        # What acts on a terminal would do so while it stands in the line.
        return [key for key in keys if key == visible(key)]


def _options(verb: str, place: int) -> Iterable[str]:
    if verb in _KEYS_FROM and place >= _KEYS_FROM[verb]:
        return _WATCH_OPTIONS
    return _OPTIONS.get(verb, ()) if place > 1 else ()


def _is_key(verb: str, place: int, word: str) -> bool:
    """Whether the word after so many others is a key or a pattern, and can be completed."""
    if "*" in word:
        return False
    return place >= _KEYS_FROM[verb] if verb in _KEYS_FROM else verb in _KEY_SECOND and place == 1
