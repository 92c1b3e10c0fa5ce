"""Fixtures for tests of the Python library."""

import pytest

from tests.support.faces import FACES, Connect


@pytest.fixture(params=FACES)
def connect(request: pytest.FixtureRequest) -> Connect:
    """The `connect` of each face."""
    return FACES[request.param]
