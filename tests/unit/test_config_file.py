"""Options in a TOML file: every one, weaker than the environment; what is wrong is named with the file."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvd.addresses import Address
from kvd.config_file import LARGEST
from kvd.errors import StartError
from kvd.options import Option
from kvd.settings import MIB, OPTIONS, Settings, read

EVERY = """\
# All of them, with numbers where there are numbers.
listen = ["127.0.0.1:1", "[::1]:2"]
insecure = true
tls-cert = "/from/cert.pem"
tls-key = "/from/key.pem"
tls-client-ca = "/from/ca.pem"
data = "/from/file"
engine = "redis-server"
store-wait = 0.5
fsync = "no"
max-value = 65536
max-memory = "20MiB"
connection-memory = "30MiB"
watch-buffer = "2MiB"
read-cache = 0
first-line = "strict"
line-time = 9
transaction-time = 9
idle-time = 9
login-time = 9
handshake-time = 9
handshakes = 9
address-connections = 9
requests-in-flight = 9
watch-patterns = 9
history-changes = 7
history-bytes = "1MiB"
history-age = 3600
change-index = "always"
owner-keys = 9
max-stale = 1
workers = 2
users = "users.toml"
audit = "audit.log"
log-level = "debug"
log-format = "json"
http = ["127.0.0.1:3"]
http-write = true
"""


OF_AN_EDGE = {option.name[2:] for option in OPTIONS if option.name.startswith("--follow")}
"""They go with no store of one's own."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "kvd.toml"


def read_file(path: Path, text: str | bytes) -> Settings:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read({"--config": str(path)}, {})


def test_every_option_is_taken(config: Path) -> None:
    found = read_file(config, EVERY)
    assert found.listen == (Address("127.0.0.1", 1), Address("::1", 2))
    assert (found.store_wait, found.history_age, found.max_value, found.read_cache) == (0.5, 3_600_000, 65536, 0)
    named = {line.partition(" ")[0] for line in EVERY.splitlines()[1:]}
    for option in OPTIONS:
        if option.name[2:] in named:
            assert getattr(found, option.field) != getattr(Settings(), option.field)
    not_beside = {"config", "store", "store-file", "durability", "log-from"} | OF_AN_EDGE
    assert {option.name[2:] for option in OPTIONS} - named == not_beside


@pytest.mark.parametrize("option", OPTIONS[1:], ids=lambda option: option.name)
def test_every_option_has_its_name_in_the_file(option: Option, config: Path) -> None:
    """Said by the error that an impossible value is given."""
    with pytest.raises(StartError, match=rf"^{option.name[2:]} in '.*kvd.toml': expected"):
        read_file(config, f"{option.name[2:]} = 2026-01-01")


def test_the_command_line_then_the_environment_then_the_file(config: Path) -> None:
    config.write_text('workers = 2\nfsync = "no"\nmax-value = "1KiB"\nlisten = ["127.0.0.1:1"]')
    environment = {"KVD_FSYNC": "everysec", "KVD_MAX_VALUE": "2KiB", "KVD_CONFIG": str(config), "KVD_LISTEN": ""}
    found = read({"--max-value": "3KiB", "--listen": []}, environment)
    assert (found.workers, found.fsync, found.max_value) == (2, "everysec", 3072)
    assert found.listen == (Address("127.0.0.1", 1),)
    other = config.with_name("other.toml")
    other.write_text("workers = 3")
    assert read({"--config": str(other)}, environment).workers == 3


def test_one_value_stands_for_a_list_of_one_and_nothing_for_none(config: Path) -> None:
    assert read_file(config, 'listen = "127.0.0.1:1"').listen == (Address("127.0.0.1", 1),)
    found = read_file(config, 'listen = []\nengine = ""\nmax-value = ""')
    assert (found.listen, found.engine, found.max_value) == (Settings().listen, "", MIB)
    assert read_file(config, b"\xef\xbb\xbfworkers = 2\r\n").workers == 2


def test_a_store_in_a_stronger_place_takes_the_place_of_the_files(config: Path) -> None:
    url = config.with_name("url")
    url.write_text("redis://from-file")
    config.write_text(f'store-file = "{url}"')
    named = {"KVD_CONFIG": str(config)}
    assert read({}, named).store == "redis://from-file"
    assert read({}, named | {"KVD_STORE": "redis://environment"}).store == "redis://environment"
    assert read({"--store": "redis://option"}, named).store == "redis://option"
    config.write_text('store = "redis://in-file"')
    assert read({}, named | {"KVD_STORE_FILE": str(url)}).store == "redis://from-file"
    with pytest.raises(StartError, match=r"^store in '.*' and store-file in '.*': both name a store"):
        read_file(config, f'store = "redis://a"\nstore-file = "{url}"')


def test_a_password_is_refused_where_others_may_read_it(config: Path) -> None:
    text = 'store = "redis://:sesame-4711@h/0"'
    config.touch(0o600)
    assert read_file(config, text).store == "redis://:sesame-4711@h/0"
    for mode in (0o640, 0o604):
        config.chmod(mode)
        with pytest.raises(StartError, match=r"^store in '.*': it holds a password, .* with store-file, or") as refused:
            read_file(config, text)
        assert "sesame" not in str(refused.value)
    assert read_file(config, 'store = "redis://h/0"').store == "redis://h/0"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("frob = 1", r"^'.*kvd.toml': unknown option 'frob'; kvd --help lists"),
        ("max_value = 1", r"unknown option 'max_value' \(did you mean 'max-value'\?\)"),
        ("--workers = 1", r"unknown option '--workers' \(did you mean 'workers'\?\)"),
        ("LISTEN = 'h'", r"unknown option 'LISTEN' \(did you mean 'listen'\?\)"),
        ("[kvd]\nworkers = 1", "unknown option 'kvd'"),
        ("help = true", "unknown option 'help'"),
        ("config = 'x'", "unknown option 'config'"),
        ("workers = 0", "^workers in '.*kvd.toml': invalid number '0': expected"),
        ("workers = 2.0", "^workers in '.*kvd.toml': invalid number '2.0': expected"),
        ("history-age = nan", "^history-age in '.*kvd.toml': invalid time 'nan': expected"),
        ("workers = [1, 2]", "^workers in '.*kvd.toml': it may be given once only"),
        ("workers = [1]", "^workers in '.*kvd.toml': it may be given once only"),
        ("insecure = 'maybe'", "^insecure in '.*kvd.toml': invalid value 'maybe': expected yes or no"),
        ("workers = true", "^workers in '.*kvd.toml': expected a text or a number$"),
        ("workers = {n = 1}", "^workers in '.*kvd.toml': expected a text or a number$"),
        ("workers = 2026-01-01", "^workers in '.*kvd.toml': expected a text or a number$"),
        ("listen = ['h:1', ['h:2']]", "^listen in '.*kvd.toml': it may be given once only"),
        ("listen = ['h:1', 2]", "^listen in '.*kvd.toml': invalid address '2'"),
        ("listen = true", "^listen in '.*kvd.toml': expected a text or a number, or a list of them$"),
        ("workers 2", r"^--config: '.*kvd.toml' is not TOML: .*line 1"),
        ("workers = 1\nworkers = 1", r"^--config: '.*kvd.toml' is not TOML: Cannot overwrite"),
        ("workers = " + "9" * 5000, "^--config: '.*kvd.toml' is not TOML: "),
        ("listen = " + "[" * 5000, "^--config: '.*kvd.toml' is not TOML: "),
        (b"\xff\xfe", "^--config: '.*kvd.toml' is not UTF-8 text"),
        (b"#" * (LARGEST + 1), "^--config: '.*kvd.toml' has more than"),
    ],
)
def test_what_is_wrong_is_named(config: Path, text: str | bytes, wanted: str) -> None:
    with pytest.raises(StartError, match=wanted):
        read_file(config, text)


@pytest.mark.parametrize("name", ["", "nobody/kvd.toml", "nul\0.toml"], ids=["directory", "absent", "impossible"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(StartError, match=r"^KVD_CONFIG: cannot read '.*': .*; expected a TOML file$"):
        read({}, {"KVD_CONFIG": f"{tmp_path}/{name}"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.binary() | st.text().map(str.encode))
def test_no_file_makes_it_raise_anything_else(config: Path, raw: bytes) -> None:
    with suppress(StartError):
        read_file(config, raw)
