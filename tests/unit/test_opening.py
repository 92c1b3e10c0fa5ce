"""A file that is named in an option and cannot be read is named, with why, and what it was to be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kvd.access import users_file
from kvd.credentials import url_in_file
from kvd.errors import StartError

READERS: dict[str, Callable[[Path], object]] = {
    "a file with the URL": lambda path: url_in_file(str(path), "--it"),
    "a TOML file of users": lambda path: users_file.load(path, "--it"),
}


@pytest.mark.parametrize("expected", READERS)
@pytest.mark.parametrize(
    ("name", "why"),
    [("", "Is a directory"), ("absent", "No such file or directory"), ("nul\0", "embedded null byte")],
    ids=["directory", "absent", "impossible"],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, expected: str, name: str, why: str) -> None:
    with pytest.raises(StartError, match=f"^--it: cannot read '.*': {why}; expected {expected}$"):
        READERS[expected](tmp_path / name)
