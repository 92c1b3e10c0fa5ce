"""protocol.txt holds: its transcripts are played, its tables and limits are those of the code."""

import asyncio
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.addresses import DEFAULT_PORT
from kvd.errors import REFUSALS, Refusal
from kvd.service import FEATURES
from kvd.settings import Settings
from kvd.verbs import VERBS, find
from kvd.wire import words
from kvd.wire.lines import max_line
from tests.support.page import TEXT, section
from tests.support.processes import Daemon, StartDaemon
from tests.support.vectors import Player, Step, steps_of, tcp

VERB_SECTIONS = range(5, 10)


def table(text: str) -> dict[str, str]:
    """Rows `    name    meaning`, with what continues them."""
    rows: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if match := re.fullmatch(r"    (\S+(?:, \S+)*)  +(.*)", line):
            name = match[1]
            rows[name] = match[2]
        elif name and re.match(r" {8}", line):
            rows[name] += " " + line.strip()
        else:
            name = ""
    return rows


def test_the_features_are_those_of_the_page() -> None:
    told = table(section(9))["features"]
    verbs = {name.decode().lower() for name in VERBS} & {*FEATURES.split()}
    assert set(re.findall(r"`([a-z-]+)`", told)) | verbs == {*FEATURES.split(), "follows"}


# ---- transcripts


def transcript(number: int) -> list[Step]:
    """The C: and S: lines of a section, with STORE for the store's id that it shows."""
    lines = re.findall(r"^    ([CS]: .*)$", section(number), re.MULTILINE)
    return steps_of([re.sub(r"@[0-9a-f]{8}\b", "@STORE", line) for line in lines])


def other_client(*requests: str) -> list[Step]:
    """Requests of another connection, each of which is done before the next."""
    return [step for request in requests for step in steps_of([f"C9: {request}", "S9: OK ..."])]


BEFORE = {
    # What section 7 lists is what the walk of section 1 and the values of section 6 leave.
    7: ["SET greeting hello", "PUT lock/db if=0 = worker-7", "DEL greeting", "INCR hits", "INCR hits 41",
        "PUT icon base64 = iVBORw0KGgo=", "PUT note base64 = aGVsbG8="],
    8: ["SET a 1", "SET a 2", "SET a 3"],
}  # fmt: skip
"""What was done to the store before a section's transcript."""

AMID = {
    8: {1: ["INCR hits", "SET a 5", "SET a 6", "PUT lock/seal base64 = AAEC", "SET a 8", "DEL lock/seal"]},
}
"""What others do, after which step of it."""


def hint(text: str) -> str:
    """A line with the mark for the seconds after which to come back, which are never the same."""
    return re.sub(r" retry=[0-9.]+ ", " retry=SECONDS ", text)


@pytest.mark.slow
@pytest.mark.parametrize("number", [n for n in range(1, 17) if re.search(r"^    C: ", section(n), re.MULTILINE)])
async def test_the_transcript_of_a_section_holds(number: int, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    steps = other_client(*BEFORE.get(number, []))
    for place, step in enumerate(transcript(number)):
        # The time that was left when the page was written.
        steps.append(step._replace(text="OK ...") if step.text == "OK 90.498" else step._replace(text=hint(step.text)))
        steps += other_client(*AMID.get(number, {}).get(place, []))
    async with AsyncExitStack() as stack:
        player = Player(tcp(daemon.port, stack))
        for step in steps:
            if step.text.startswith("END "):
                await asyncio.to_thread(daemon.stop)
            await player.play([step])
        if steps[-1].text.startswith("END "):
            await player.play([Step(0, False, "", "<closed>")])
        else:
            await player.finish()


def test_the_transcripts_are_found() -> None:
    assert [n for n in range(1, 17) if re.search(r"^    C: ", section(n), re.MULTILINE)] == [1, 5, 6, 7, 8]


@pytest.mark.slow
def test_the_client_in_python_works(daemon: Daemon) -> None:
    code = re.search(r"^    import socket\n(?:    .*\n|\n)*", section(13), re.MULTILINE)
    assert code
    names: dict[str, Any] = {}
    exec(re.sub(r"^    ", "", code[0], flags=re.MULTILINE), names)  # noqa: S102
    connect: Callable[..., Any] = names["Kvd"]
    client = connect(port=daemon.port)
    with client.sock, client.lines:
        assert client.ask("SET greeting hello world") == ("OK", "1", [])
        assert client.ask("GET greeting") == ("OK", "hello world", [])
        assert client.ask("GET nope") == ("NONE", "", [])
        assert client.ask("KEYS") == ("OK", "1", [("KEY", "greeting")])
        assert client.ask("FROB")[:1] == ("ERR",)
        store = dict(text.split(" ", 1) for _, text in client.ask("INFO")[2])["store"]
        changed = [("TIME", ANY), ("CHANGED", f"1@{store} SIZE greeting 11")]
        assert client.ask(f"CHANGES 0@{store} *keys *time") == ("OK", f"1@{store}", changed)
        assert client.ask("SYNC *keys")[2] == [("SIZE", "1 greeting 11")]
        for end in "\n", "\r", "\r\n":
            with pytest.raises(ValueError, match="one line"):
                client.ask(f"GET a{end}DEL a")


# ---- verbs


@pytest.mark.parametrize("verb", [name.decode() for name in VERBS])
def test_every_verb_has_a_section_with_its_replies(verb: str) -> None:
    found = [
        entry
        for number in VERB_SECTIONS
        for entry in re.split(r"^(?=[A-Z])", section(number), flags=re.MULTILINE)
        if re.match(rf"{verb}\b", entry)
    ]
    assert found, f"{verb} is in none of the sections 5 to 9"
    assert re.search(r"^    OK\b|answers OK|OK \[text\]|one `INFO name value`", "".join(found), re.MULTILINE)


def test_every_verb_of_the_page_is_in_the_table() -> None:
    shown = {verb for n in VERB_SECTIONS for verb in re.findall(r"^([A-Z]{2,})\b", section(n), re.MULTILINE)}
    assert shown == {name.decode() for name in VERBS}


def test_the_contents_name_the_verbs_of_the_sections() -> None:
    contents = dict(re.findall(r"^ {2,3}(\d+)  [^:\n]*: +([A-Z ]+)$", TEXT, re.MULTILINE))
    for number in VERB_SECTIONS:
        shown = re.findall(r"^([A-Z]{2,})\b", section(number), re.MULTILINE)
        assert contents[str(number)].split() == list(dict.fromkeys(shown))


# ---- the grammar

PROSE = {
    "key-octet": r"[^\s\x00-\x1f\x7f-\x9f*]",
    "text": r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*",
}
"""The two rules that the grammar gives in words."""
CORE = {"SP": " ", "LF": "\n", "CR": "\r", "ALPHA": "[A-Za-z]", "DIGIT": "[0-9]"}
RULES: dict[str, str] = {
    name: re.sub(r";.*", "", rule)
    for name, rule in re.findall(r"^    ([a-z0-9-]+) += ((?:.*\n)(?: {9,}.*\n)*)", section(15), re.MULTILINE)
}
OF_VERB = {
    verb: [name for name in re.findall(r"[a-z]+", RULES["request"]) if f'"{verb}"' in RULES[name]]
    for verb in (name.decode() for name in VERBS)
}
"""The rules of each verb that a request may be."""
_REPEAT = re.compile(r"(\d*)(\*?)(\d*)(?=[a-zA-Z(])")
_ELEMENT = re.compile(r'\s*(?:"([^"]*)"|%x(\w\w)-(\w\w)|([a-zA-Z][\w-]*)|([/()\[\]]))\s*')


def regex(name: str) -> str:
    """A rule of the grammar as a regular expression."""
    return CORE.get(name) or PROSE.get(name) or _translate(RULES[name].strip())


def _translate(rule: str) -> str:
    """ABNF, as far as the page uses it."""
    result, place, repeats = "", 0, [""]
    while place < len(rule):
        repeat = _REPEAT.match(rule, place)
        if repeat and repeat[0]:
            least, star, most = repeat.groups()
            repeats[-1] = f"{{{least or 0},{most}}}" if star else f"{{{least}}}"
            place = repeat.end()
        element = _ELEMENT.match(rule, place)
        assert element, rule[place:]
        literal, low, high, name, mark = element.groups()
        if mark:
            result += {"/": "|", "(": "(?:", "[": "(?:", ")": ")", "]": ")?"}[mark]
        else:
            result += f"(?:{regex(name)})" if name else f"[\\x{low}-\\x{high}]" if low else f"(?:{re.escape(literal)})"
        if mark in ("(", "["):
            repeats.append("")
        elif mark != "/":
            repeats = repeats[:-1] if mark else repeats
            result += repeats[-1]
            repeats[-1] = ""
        place = element.end()
    return result


@pytest.mark.parametrize("verb", OF_VERB)
def test_every_verb_has_a_grammar_rule(verb: str) -> None:
    assert len(OF_VERB[verb]) == 1


def test_every_grammar_rule_is_used_and_can_be_read() -> None:
    for name in RULES:
        re.compile(regex(name))
    plain = [re.sub(r'"[^"]*"|<[^>]*>|%x\S+|\d+(?=[a-z])', "", rule) for rule in RULES.values()]
    used = {word for rule in plain for word in re.findall(r"[a-z][a-z0-9-]+", rule)}
    assert set(RULES) - used == {"request", "reply", "push"}


def accepts(parse: Callable[[bytes], object], word: str) -> bool:
    try:
        parse(word.encode())
    except Refusal:
        return False
    return True


WORDS: dict[str, tuple[Callable[[bytes], object], Callable[[str], bool]]] = {
    "number": (words.number, lambda word: int(word) < 2**53),
    "integer": (words.integer, lambda word: abs(int(word)) < 2**63),
    "seconds": (words.milliseconds, lambda word: 0.001 <= float(word) <= 1e9),
    "condition": (words.condition, lambda word: int(word.partition("@")[0]) < 2**53 and len(word) < 60),
    "base64": (lambda word: words.base64_value(word, 99, None), lambda word: len(word) < 99),
    "key": (words.key, lambda word: len(word.encode()) <= 512),
    "pattern": (words.pattern, lambda word: len(word.encode()) <= 512),
    "text": (lambda word: words.text_value(word, 999), lambda word: len(word.encode()) <= 999),
}
"""Rules for one word, the code's function, and what must hold beyond the grammar."""
UTF8 = st.characters(codec="utf-8")
NEAR_MISSES = st.text(st.sampled_from("019.-+@=*aZ/_ \t\r\x00\x7f\x85\xa0\u0661\u2028\u3000é🔑"), max_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
@given(data=st.data())
def test_the_code_takes_what_the_grammar_says(name: str, data: st.DataObject) -> None:
    parse, holds = WORDS[name]
    word = data.draw(st.from_regex(regex(name), fullmatch=True, alphabet=UTF8))
    assert accepts(parse, word) or not holds(word)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
@given(data=st.data())
def test_the_code_takes_nothing_else(name: str, data: st.DataObject) -> None:
    parse, _ = WORDS[name]
    word = data.draw(NEAR_MISSES | st.text(UTF8) | st.from_regex(regex(name), alphabet=UTF8))
    assert not accepts(parse, word) or re.fullmatch(regex(name), word)


PIECES = [
    "k", "a/b", "*", "k*", "=", "v", "", "ttl=5", "ttl=-", "ttl=0.001", "if=0", "if=1@s", "base64", "base64=1", "aa==",
    "after=k", "limit=1", "limit=01", "-5", "-0", "+1", "é", "GET",
    "1@s", "-", "*keys", "*batches", "*time", "*ttl", "*only=SET", "*only=DEL,EXPIRE", "*only=", "*limit=5",
]  # fmt: skip
REQUEST = re.compile(regex("request"))


@given(st.sampled_from(list(VERBS)), st.lists(st.sampled_from(PIECES), max_size=6))
def test_every_request_that_is_taken_is_of_the_grammar(verb: bytes, rest: list[str]) -> None:
    line = " ".join([verb.decode(), *rest])
    row, tail = find(line.encode())
    if accepts(lambda _: row.parse(tail, 99), ""):
        # HELP itself says what is no verb.
        assert REQUEST.fullmatch(line + "\n") or row.name == "HELP"


# ---- errors


def test_every_error_code_is_in_section_10_and_no_other() -> None:
    assert set(table(section(10))) == set(REFUSALS)


# ---- limits


def test_the_limits_are_those_of_the_code() -> None:
    limits = table(section(11))
    default = Settings()
    assert limits["key"] == f"{words.MAX_KEY} bytes"
    assert limits["value"] == f"{default.max_value >> 20} MiB (kvd --max-value)"
    assert limits["patterns"] == f"{words.MAX_PATTERNS} in a watch, or in CHANGES (kvd --watch-patterns)"
    assert limits["revision, REV, N"] == f"below 2^53 ({words.MAX_NUMBER})"
    assert words.MAX_NUMBER == 2**53
    assert limits["line"] == "4/3 of the value limit and 2048 bytes, without its end"
    assert max_line(3000) == 4000 + 2048
    assert f"{default.max_value:,} of them" in section(3)
    assert f"0.001 to\n           {words.MAX_SECONDS}." in section(3)
    assert f"port {DEFAULT_PORT} unless told otherwise" in section(1)
    assert words.MAX_INTEGER == 2**63 - 1


def test_a_line_has_room_for_the_largest_value_in_base64_with_all_options() -> None:
    for max_value in (1, 2, 3, 1000, 1 << 20):
        base64 = -(-max_value // 3) * 4
        options = f"PUT {'k' * words.MAX_KEY} if={2**53 - 1}@{'s' * 64} ttl=1000000000.000 base64={max_value} = "
        assert len(options) + base64 <= max_line(max_value)


def test_info_tells_what_the_page_says(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        peer.send("INFO\nPING end\n")
        told = []
        while (line := peer.line()) != "OK":
            told.append(line)
        assert [line.split(" ")[1] for line in told] == list(
            table(section(9).partition("INFO  ")[2].partition("\nAUTH")[0])
        )
        facts = dict(line.removeprefix("INFO ").split(" ", 1) for line in told)
        assert facts["protocol"] == "1"
        assert facts["max-key"] == str(words.MAX_KEY)
        assert facts["max-value"] == str(1 << 20)
        assert facts["max-line"] == str(max_line(1 << 20))
        assert (facts["revision"], facts["oldest"]) == ("0", "0")


# ---- the page itself


def test_the_page_is_plain() -> None:
    assert TEXT.isascii()
    assert not re.search(r"[ \t]$|\t", TEXT, re.MULTILINE)


def test_the_contents_are_the_sections() -> None:
    contents = TEXT.partition("Contents\n")[2].partition("\n\n\n")[0]
    listed = re.findall(r"^ {2,3}(\d+)  ([A-Z][^:\n]*)", contents, re.MULTILINE)
    titles = re.findall(r"^(\d+)  ([^\n:]*).*\n-+\n", TEXT, re.MULTILINE)
    assert [number for number, _ in titles] == [str(n) for n in range(1, 17)]
    assert [(number, re.sub(r", RFC.*\)", ")", title)) for number, title in titles] == listed
