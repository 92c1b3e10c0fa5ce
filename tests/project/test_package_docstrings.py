"""Reported: docstrings of packages that leave out modules which were added later."""

import importlib
import pkgutil
import re

import pytest

import kvd

PACKAGES = ["kvd", *(name for _, name, is_package in pkgutil.walk_packages(kvd.__path__, "kvd.") if is_package)]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_exactly_its_modules(name: str) -> None:
    """One a line: its name, two spaces or more, what it is for."""
    package = importlib.import_module(name)
    listed = re.findall(r"^(\w+) {2,}\S", package.__doc__ or "", re.MULTILINE)
    assert sorted(listed) == sorted(module.name for module in pkgutil.iter_modules(package.__path__))
