"""kvd.access.users: the file of users, in words."""

import pytest

from kvd.access.passwords import UNKNOWN, hash_of, is_hash, matches
from kvd.access.users import MOST_PASSWORDS, parse, why_unusable
from kvd.errors import StartError

HASH = UNKNOWN

GOOD = f"""
[users.alice]
passwords = ["{HASH}", "{HASH}"]
rules = {{ "app/*" = ["read", "write", "watch"], "*" = ["read"] }}
[users."bob@home"]
[users.root]
rules = {{ "*" = ["admin"] }}
[users.default]
rules = {{ "caf\u00e9/*" = ["read"] }}
"""


def test_users_are_found_by_name_with_their_rights() -> None:
    users = parse(GOOD, "file")
    assert [user.name for user in users.all] == ["alice", "bob@home", "default", "root"]
    alice, bob, default = users.get("alice"), users.get("bob@home"), users.get("default")
    assert alice
    assert bob
    assert default
    assert alice.hashes == (HASH, HASH)
    assert alice.rights.may_write(b"app/x")
    assert not alice.rights.may_write(b"b")
    assert alice.rights.may_read(b"b")
    assert not bob.rights.may_read(b"b")
    assert default.rights.may_read("caf\u00e9/x".encode())
    assert users.get("nobody") is None
    assert len(parse("", "file")) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("users", "not TOML"),
        ("user = {}", "unknown entry 'user': expected users"),
        ("users = 1", "expected a table"),
        ("[users]\na = 1", "user a: expected a table"),
        ("[users.a]\nrule = {}", "user a: unknown entry 'rule': expected passwords or rules"),
        ("[users.a]\npasswords = 'x'", "expected a list of texts"),
        ("[users.a]\npasswords = [1]", "expected a list of texts"),
        ("[users.a]\npasswords = ['secret']", "invalid hash of a password"),
        (f"[users.a]\npasswords = {[HASH] * (MOST_PASSWORDS + 1)}", "3 passwords: expected 2 at the most"),
        (f"[users.default]\npasswords = ['{HASH}']", "it has a password"),
        ("[users.a.rules]\n'a b' = ['read']", "invalid pattern 'a b'"),
        ("[users.a.rules]\n'a*b' = ['read']", "invalid pattern 'a*b'"),
        ("[users.a.rules]\n'' = ['read']", "invalid pattern ''"),
        ("[users.a.rules]\n'a' = 'read'", "expected a list of texts"),
        (
            "[users.a.rules]\n'a' = ['reed']",
            "unknown right or quota 'reed' of 'a': expected any of read, write, watch, admin, max-",
        ),
        ("[users.a.rules]\n'a' = []", "no rights of 'a'"),
        ("[users.a.rules]\n'a/*' = ['admin']", "admin for 'a/*': expected it for '*' only"),
        ("[users.a.rules]\n'a' = ['write', 'max-keys=0']", "invalid max-keys '0': expected a whole number"),
        ("[users.a.rules]\n'a' = ['write', 'max-keys=10KB']", "invalid max-keys '10KB'"),
        ("[users.a.rules]\n'a' = ['write', 'max-bytes=ten']", "invalid max-bytes 'ten': expected bytes"),
        ("[users.a.rules]\n'a' = ['write', 'max-bytes=9007199254740992']", "invalid max-bytes"),
        ("[users.a.rules]\n'a' = ['write', 'max-keys=1', 'max-keys=2']", "two of max-keys"),
        ("[users.a.rules]\n'a' = ['read', 'max-keys=1']", "max-keys without write"),
        ("[users.a.rules]\n" + "".join(f"'{n}' = ['write', 'max-keys=1']\n" for n in range(101)), "101 patterns have"),
        ("[users.'a b']", "invalid name 'a b'"),
        ("[users.'-a']", "invalid name '-a'"),
        ("[users.'']", "invalid name ''"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(StartError) as caught:
        parse(text, "users.toml")
    assert str(caught.value).startswith("users.toml: ")
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_hash_has_the_parameters_and_a_salt_of_its_own() -> None:
    first, second = hash_of(b"geheim wort "), hash_of(b"geheim wort ")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert is_hash(first)
    assert matches(first, b"geheim wort ")
    assert not matches(first, b"geheim wort")
    assert is_hash(UNKNOWN)
    assert not matches(UNKNOWN, b"")


@pytest.mark.parametrize("password", [b"", b"x" * 1025, b"a\nb", b"a\0b", b"\xff", "a\u2028b".encode()])
def test_a_password_that_no_line_could_have_is_not_usable(password: bytes) -> None:
    assert why_unusable(password)


@pytest.mark.parametrize("password", [b" ", b"x" * 1024, b"a\tb ", "gr\u00fcn".encode()])
def test_others_are(password: bytes) -> None:
    assert not why_unusable(password)


def test_a_quota_is_read_with_its_units_and_handed_to_the_store() -> None:
    text = """[users.a.rules]
"app/*" = ["read", "write", "max-keys=1000", "max-bytes=10MB"]
"b" = ["write", "max-bytes=2KiB"]
"c" = ["write", "max-keys=3"]
"*" = ["read"]
"""
    user = parse(text, "file").get("a")
    assert user
    assert user.rights.quota == b"app/* 1000 10000000\nb - 2048\nc 3 -\n"
    assert user.quotas[0].words == ("max-keys=1000", "max-bytes=10MB")
    assert user.rights.may_write(b"app/x")
    assert parse("[users.a.rules]\n'*' = ['write']", "file").all[0].rights.quota == b""
