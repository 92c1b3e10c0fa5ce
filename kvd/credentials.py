"""The URL of a store may hold a password: it is read, also from a file, checked, and never shown again."""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from kvd import group_url
from kvd.errors import StartError
from kvd.opening import read_named

EXPECTED = (
    "redis://[user:password@]host:port/db, rediss://..., unix:///path/to/socket, "
    "redis+sentinel://[user:password@]host:port,host:port,host:port/NAME or redis+cluster://host:port,..."
)
LONGEST_URL = 8192
"""Bytes; far more than any has, and what may be read of a file that is another."""
SHORTEST = 4
"""Characters of a password that is hidden also where no URL is; a shorter one would hide half of the log."""

# What is before the last @ of an address, however the slashes before it were written, but for EXPECTED itself.
_USER = re.compile(r"(:/++)(?!\[user:password@\])\S*@")
# The same without a scheme, for what was typed in the place of something else: of a path it is a part.
_BARE_USER = re.compile(r"^((?:[^\s:/]*//)?[^\s:/]*:)(?!/)\S*@")
_PASSWORD = re.compile(r"(pass\w*=)[^&\s]+", re.IGNORECASE)
_REDIS_PATH = re.compile(r"/?[0-9]*").fullmatch


_known: set[str] = set()


def keep_secret(url: str) -> None:
    """Have `masked` hide the password of a URL wherever it is: a server's error may quote what it was sent."""
    if group_url.is_group(url):
        group = group_url.parse(url)
        given, query = group.passwords, group.query
    else:
        parts = urlsplit(url)
        given, query = [parts.password or ""], parts.query
    given.append(dict(parse_qsl(query)).get("password", ""))
    _known.update(form for text in given for form in (text, unquote(text)) if len(text) >= SHORTEST)


def masked(text: str) -> str:
    """A text for people, such as a line of the log, without the credentials of any URL in it."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _PASSWORD.sub(r"\1***", _USER.sub(r"\1***@", text))


def masked_value(given: str) -> str:
    """An option's value for a message about it, without the credentials that it has as a URL, or as the rest of one."""
    return masked(repr(_BARE_USER.sub(r"\1***@", given)))


def checked_url(url: str, where: str) -> str:
    """The URL of a Redis, if it is one.  Raises StartError that names `where` and shows nothing of it.

    What is wrong is often a password with characters that end a host or a path, whose rest would mean something
    else, and show in an error later.
    """
    wrong = _what_is_wrong(url)
    if wrong:
        raise StartError(
            f"{where}: not the URL of a Redis: {wrong}; expected {EXPECTED}; in a name or a password, "
            "/ ? # [ ] are written %2F %3F %23 %5B %5D"
        )
    keep_secret(url)
    return url


def url_in_file(file: str, where: str) -> str:
    """The URL that a file holds, alone.  Raises StartError."""
    raw, _ = read_named(file, where, LONGEST_URL, "a file with the URL")
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(raw) > LONGEST_URL:
        raise StartError(f"{where}: {file!r} does not hold one line of text; expected {EXPECTED}")
    return checked_url(text, f"{where} {file!r}")


def _what_is_wrong(url: str) -> str:
    """What to say of something that should be a URL; "" if it is one."""
    scheme, slashes, _ = url.partition("://")
    is_group = group_url.is_group(url)
    if not slashes or not (is_group or scheme.lower() in ("redis", "rediss", "unix")):
        return "it does not begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "it has a space or a control character"
    if is_group:
        return _what_is_wrong_with_group(url)
    try:
        parts = urlsplit(url)
        # Asked for because it is looked at only then.
        _ = parts.port
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return "its host, its port or its query cannot be read"
    if parts.fragment:
        return "it has a '#'"
    if scheme.lower() == "unix":
        alone = parts.path and not parts.netloc.rpartition("@")[2]
        return "" if alone else "what follows unix:// is no path"
    return "" if _REDIS_PATH(parts.path) else "what follows the host is no number of a database"


def _what_is_wrong_with_group(url: str) -> str:
    """The same for the URL of several servers."""
    if "#" in url:
        return "it has a '#'"
    try:
        group_url.parse(url)
    except ValueError as error:
        # Those of the library quote what they were given.
        text = str(error)
        return text if text.startswith(("it ", "a cluster ", "what ", "one ")) else "its hosts or ports cannot be read"
    return ""
