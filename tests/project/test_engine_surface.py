"""What of the engine kvd uses: nothing with which a client's bytes are a script, a pattern, or a serialized value.

docs/security.md says so of the engine's known weaknesses.
"""

import re

from tests.support.processes import ROOT

SCRIPTS = {path.name: re.sub(r"--.*", "", path.read_text()) for path in (ROOT / "kvd" / "lua").glob("*.lua")}
CODE = "".join(path.read_text() for path in (ROOT / "kvd").rglob("*.py"))

AVOIDED = {
    "ACL", "BITFIELD", "BITOP", "DEBUG", "DUMP", "EVAL", "FCALL", "FUNCTION", "GEORADIUS", "GEOSEARCH", "KEYS", "LCS",
    "MIGRATE", "MODULE", "PFADD", "PFCOUNT", "PFDEBUG", "PFMERGE", "PSUBSCRIBE", "REPLICAOF", "RESTORE", "SAVE", "SCAN",
    "SETBIT", "SETRANGE", "SORT", "STRALGO", "SUBSCRIBE", "XAUTOCLAIM", "XREADGROUP",
}  # fmt: skip
"""Commands that weaknesses were found in, or that take a pattern, a script, or what another engine has packed."""
LIBRARIES = {"string", "table", "math", "redis"}
"""Of Lua's; not bit, struct, cjson and cmsgpack, which are C and had weaknesses."""


def test_no_script_calls_a_command_that_is_avoided() -> None:
    called = {word for script in SCRIPTS.values() for word in re.findall(r"redis\.p?call\('(\w+)'", script)}
    assert {"HSET", "XADD"} < called
    assert called & AVOIDED == set()


def test_scripts_use_no_library_that_had_weaknesses_and_compile_nothing() -> None:
    libraries = re.compile(r"\b(string|table|math|redis|bit|struct|cjson|cmsgpack|os|debug|coroutine)\.")
    others = re.compile(
        r"\b(loadstring|load|dofile|setfenv|getfenv|setmetatable|rawset|collectgarbage|string\.rep)\s*\("
    )
    for name, script in SCRIPTS.items():
        assert set(libraries.findall(script)) <= LIBRARIES, name
        assert others.findall(script) == [], name


def test_patterns_and_formats_are_the_scripts_own() -> None:
    """A client's bytes are what is looked at, and never the pattern: without end, or as deep as the engine's stack."""
    plain = r"string\.find\([^()]*, 1, true\)|string\.find\(key, fold, prefix \+ 1, true\)"
    for name, script in SCRIPTS.items():
        assert re.findall(r"string\.format\((?!')", script) == [], name
        rest = re.sub(plain, "", script)
        for call in re.findall(r"string\.(?:match|gmatch|gsub|find)\((.*)", rest):
            assert re.search(r", (?:'|LINE)", call), f"{name}: {call}"
        assert "'MATCH'" not in script, name


def test_only_scripts_of_kvds_own_are_given_to_the_engine() -> None:
    """EVAL and SCRIPT have their text from kvd/lua; no other command of those is sent from elsewhere."""
    sent = set(re.findall(r"command\(\s*\"([A-Z]+)\"", CODE))
    assert {"EVALSHA", "EXISTS"} < sent
    assert sent & AVOIDED <= {"EVAL"}
    assert CODE.count('command("EVAL"') == 1
