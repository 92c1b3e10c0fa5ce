"""The daemon's settings: options before the environment before the defaults; what is wrong is named."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.__main__ import __doc__ as usage
from kvd.errors import StartError
from kvd.settings import MIB, Address, Settings, address, read


def test_without_anything_the_defaults_hold() -> None:
    assert read({}, {}) == Settings()
    assert Settings().listen == (Address("127.0.0.1", 5830),)


def test_options_come_before_the_environment() -> None:
    environment = {"KVD_DATA": "/from/environment", "KVD_FSYNC": "no", "KVD_LISTEN": "127.0.0.1:1 [::1]:2"}
    settings = read({"--data": "/from/option", "--listen": []}, environment)
    assert settings.data == Path("/from/option")
    assert settings.fsync == "no"
    assert settings.listen == (Address("127.0.0.1", 1), Address("::1", 2))
    assert read({"--listen": ["127.0.0.1:9"]}, environment).listen == (Address("127.0.0.1", 9),)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("512B", 512), ("64KiB", 65536), ("64k", 65536), ("2MiB", 2 * MIB), ("2 mb", 2 * MIB)]
)
def test_sizes_take_units(text: str, size: int) -> None:
    assert read({"--max-value": text}, {}).max_value == size


def test_the_read_cache_may_be_off() -> None:
    assert read({"--read-cache": "0"}, {}).read_cache == 0
    assert read({}, {"KVD_READ_CACHE": "2MiB"}).read_cache == 2 * MIB
    with pytest.raises(StartError, match=r"--read-cache: invalid size .*: expected"):
        read({"--read-cache": "-1"}, {})


@pytest.mark.parametrize("text", ["0", "-1", "1.5MiB", "MiB", "1TiB", "1e6", "512MiB", "\u0661", "9" * 5000])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(StartError, match=r"--max-value: invalid size .*: expected"):
        read({"--max-value": text}, {})
    with pytest.raises(StartError, match=r"KVD_MAX_VALUE: invalid size .*: expected"):
        read({}, {"KVD_MAX_VALUE": text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("--fsync", "sometimes"),
        ("--log-level", "loud"),
        ("--history-changes", "0"),
        ("--history-changes", "many"),
        ("--history-age", "-1"),
        ("--history-age", "1h"),
        ("--history-age", "1.2345"),
        ("--history-age", "1000000001"),
        ("--workers", "0"),
        ("--workers", "65"),
        ("--workers", "auto"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(name: str, text: str) -> None:
    with pytest.raises(StartError, match=rf"^{name}: invalid \w+ '{text}': expected"):
        read({name: text}, {})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost", Address("localhost", 5830)),
        ("[::1]:7000", Address("::1", 7000)),
        ("[::1]", Address("::1", 5830)),
        (":7000", Address("127.0.0.1", 7000)),
        ("[fe80::1%eth0]:5830", Address("fe80::1%eth0", 5830)),
        ("[FE80::1%2]", Address("FE80::1%2", 5830)),
        ("[fe80::a.b%br-1.2_x@y]:1", Address("fe80::a.b%br-1.2_x@y", 1)),
    ],
)
def test_addresses(text: str, wanted: Address) -> None:
    assert address(text, "--listen") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:b",
        "1:2:3",
        "host:99999",
        "::1",
        "[::1",
        "host:-1",
        "a b:1",
        "7000",
        "[::1%]:1",
        "[::1%a/b]:1",
        "[::1%a%b]:1",
        "[::1%a b]:1",
        "[::1%a:b]:1",
        "[%eth0]:1",
        "[::1%sixteen-letters-]",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(StartError, match=r"--listen: invalid address .*: expected HOST:PORT"):
        address(text, "--listen")


@given(st.text())
def test_no_text_makes_it_raise_anything_else(text: str) -> None:
    for name in (
        "--max-value",
        "--fsync",
        "--history-changes",
        "--log-level",
        "--history-bytes",
        "--history-age",
        "--watch-buffer",
        "--read-cache",
    ):
        try:
            read({name: text}, {})
        except StartError:
            continue
    try:
        address(text, "--listen")
    except StartError:
        return


def test_every_option_has_its_variable_in_the_help() -> None:
    assert usage
    options = set(re.findall(r"^  (--[a-z-]+) [A-Z]", usage, re.MULTILINE))
    assert {f"KVD_{name[2:].upper().replace('-', '_')}" for name in options} == set(re.findall(r"KVD_[A-Z_]+", usage))
