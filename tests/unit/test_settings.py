"""The daemon's settings: options before the environment before the defaults; what is wrong is named."""

from contextlib import suppress
from pathlib import Path

import pytest
from docopt import DocoptExit, docopt
from hypothesis import given
from hypothesis import strategies as st

from kvd.__main__ import help_page, meant
from kvd.addresses import Address, UnixAddress, address
from kvd.errors import StartError
from kvd.memory import Available
from kvd.options import Option
from kvd.settings import MIB, OPTIONS, Settings, read


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
        "tls:",
        "tls:7000",
        "tls:a:b:1",
        "tls:unix:/a",
        "tls:tls:h:1",
        "TLS:h:1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(StartError, match=r"--listen: invalid address .*: expected HOST:PORT"):
        address(text, "--listen")


def test_the_path_of_a_unix_socket_is_an_address() -> None:
    for path in ("/run/kvd.sock", "kvd.sock", "//a b:1", "é"):
        assert address(f"unix:{path}", "--listen") == UnixAddress(path)
    assert read({"--listen": ["h:1", "unix:/a"]}, {}).listen == (Address("h", 1), UnixAddress("/a"))
    assert str(UnixAddress("/a")) == "unix:/a"


@pytest.mark.parametrize("path", ["", "a\nb", "a\0b", "a\x1b[2J", "\udc80", "é" * 54, "a" * 108])
def test_what_is_no_path_of_a_socket_is_refused(path: str) -> None:
    with pytest.raises(StartError, match=r"^--listen: invalid path of a unix socket .*: expected unix:PATH, with"):
        address(f"unix:{path}", "--listen")


def test_an_address_with_tls_needs_a_certificate_and_its_key() -> None:
    assert address("tls:[::1]:7000", "--listen") == Address("::1", 7000, tls=True)
    assert address("tls::7000", "--listen") == Address("127.0.0.1", 7000, tls=True)
    assert str(address("tls:h", "--listen")) == "tls:h:5830"
    files = {"--tls-cert": "cert.pem", "--tls-key": "key.pem"}
    assert read({"--listen": ["tls:h:1", "h:2"], **files}, {}).listen[0] == Address("h", 1, tls=True)
    for name in files:
        with pytest.raises(StartError, match=r"^--listen tls:h:1: expected --tls-cert FILE and --tls-key FILE as well"):
            read({"--listen": ["h:2", "tls:h:1"]} | {name: files[name]}, {})


# It reads all options, which takes long on a busy machine.
@given(st.text())
def test_no_text_makes_it_raise_anything_else(text: str) -> None:
    for option in OPTIONS:
        if option.field not in ("store_file", "config"):
            with suppress(StartError):
                read({option.name: [text] if option.several else text}, {})
    try:
        address(text, "--listen")
    except StartError:
        return


def test_the_help_has_every_option_and_no_other() -> None:
    said = docopt(help_page(), [])
    assert set(said) == {option.name for option in OPTIONS} | {"--help", "--version"}
    assert read(said, {}) == Settings()


def outcome(page: str, words: list[str]) -> object:
    """What docopt makes of words: what is chosen, else how it ends."""
    try:
        return {name: value for name, value in docopt(page, words).items() if value not in (None, [], False)}
    except DocoptExit:
        return "a usage error"
    except SystemExit:
        return "the help"


@pytest.mark.parametrize(
    "line",
    [
        "", "--data d --listen a --listen b", "--list a --dat=d", "--listen=a=b --http-wr", "--http-write=x", "--http",
        "--max 3", "--max-v 3 --ver", "--h", "--he", "--help", "--wor 2 --help", "-h", "-xh", "-x", "-", "--", "-- x",
        "x", "--frob", "--frob=x", "--frob --help", "--data", "--data a --data b", "--data --fsync no",
        "--data --help", "--workers -1", "--version", "--versions", "--=x", "---data x", "--DATA x",
    ],
)  # fmt: skip
def test_docopt_needs_to_be_told_only_of_options_that_may_be_meant(line: str) -> None:
    words = line.split()
    assert outcome(help_page(meant(words)), words) == outcome(help_page(), words)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_help_says_what_an_option_takes_and_its_default(option: Option) -> None:
    words = " ".join(help_page().split())
    name = f"{option.name} {option.argument}".strip()
    assert f" {name} {option.help} (default: {option.default}). " in words
    assert max(map(len, help_page().splitlines())) < 120


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_read_from_both_places_by_the_same_rule(option: Option, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("fsync = 'no'" if option.name == "--config" else "redis://h")
    examples = {"ADDR": "h:1", "URL": "redis://h", "FILE": str(file), "WHEN": "no", "LEVEL": "debug", "HOW": "any"}
    examples |= {"": "yes", "FORM": "json", "MODE": "replica=2", "WHERE": "replica", "SIZE": "2MiB"}
    # They are refused where there are no replicas, and no HTTP.
    group = {"KVD_STORE": "redis+sentinel://h,i,j/n"}
    needed = {"--durability": group, "--log-from": group, "--http-write": {"KVD_HTTP": "h:1"}}
    needed |= {"--follow-user": {"KVD_FOLLOW_PASSWORD_FILE": "f"}, "--follow-password-file": {"KVD_FOLLOW_USER": "u"}}
    beside = needed.get(option.name, {})
    example = "always" if option.name == "--change-index" else examples.get(option.argument, "2")
    given = example if option.argument else True
    from_option = read({option.name: [given] if option.several else given}, beside)
    from_variable = read({}, {option.variable: example} | beside)
    assert option.variable == "KVD_" + option.name[2:].replace("-", "_").upper()
    assert from_option == from_variable != (Settings() if option.name.startswith("--follow-") else read({}, beside))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_empty_variable_is_as_none(option: Option) -> None:
    assert read({}, {option.variable: ""}) == Settings()


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.argument], ids=lambda option: option.name)
def test_an_empty_argument_is_no_default(option: Option) -> None:
    with pytest.raises(
        StartError, match=rf"^{option.name}: .*''|^{option.name}: expected {option.argument}, not an empty"
    ):
        read({option.name: [""] if option.several else ""}, {})


@pytest.mark.parametrize("name", ["--follow-user", "--follow-password-file"])
def test_who_an_edge_is_and_its_password_go_together(name: str) -> None:
    with pytest.raises(StartError, match=r"^--follow-user and --follow-password-file: one of them is given; expected"):
        read({name: "x", "--follow": ["h:1"]}, {})


def test_a_flag_is_yes_or_no() -> None:
    for text, wanted in {"yes": True, "TRUE": True, "1": True, "no": False, "off": False, "0": False}.items():
        assert read({}, {"KVD_INSECURE": text}).insecure is wanted
    assert read({"--insecure": True}, {"KVD_INSECURE": "no"}).insecure
    assert read({"--insecure": False}, {"KVD_INSECURE": "yes"}).insecure
    with pytest.raises(StartError, match=r"^KVD_INSECURE: invalid value 'perhaps': expected yes or no"):
        read({}, {"KVD_INSECURE": "perhaps"})


def test_a_default_is_what_its_text_is_read_as() -> None:
    for option in OPTIONS:
        text = option.default.split(",")[0]
        if text[0].isdigit() or option.field in ("data", "fsync", "change_index", "log_level", "log_format"):
            settings = read({option.name: [text] if option.several else text}, {})
            assert getattr(settings, option.field) == getattr(Settings(), option.field)


def test_seconds_are_taken_in_one_way() -> None:
    for name, unit in (("store-wait", 1), ("history-age", 1000)):
        field = name.replace("-", "_")
        for text, wanted in (("0", 0), ("007", 7), ("999999999", 999_999_999), ("1000000000", 10**9), (" 60 ", 60)):
            assert getattr(read({f"--{name}": text}, {}), field) == wanted * unit
        assert getattr(read({}, {f"KVD_{field.upper()}": "0.25"}), field) == 0.25 * unit
        for text in ("-1", "1m", "1.2345", ".5", "1.", "1e3", "1000000001", "\u0661", " "):
            with pytest.raises(StartError, match=rf"^--{name}: invalid time .*: expected seconds, such as 3600 or 0.5"):
                read({f"--{name}": text}, {})


def test_a_store_whose_url_is_in_a_file_is_no_other_store(tmp_path: Path) -> None:
    """It has a memory of its own, and a note of where it stood, as one whose URL is given."""
    (tmp_path / "url").write_text("redis://h\n")
    for options in ({"--store": "redis://h"}, {"--store-file": str(tmp_path / "url")}):
        settings = read(options | {"--data": str(tmp_path), "--max-memory": "20MiB"}, {}, Available(1000 * MIB))
        assert settings.store == "redis://h"
        assert (settings.memory.store, settings.memory.asked, settings.notes) == (0, 0, tmp_path)
