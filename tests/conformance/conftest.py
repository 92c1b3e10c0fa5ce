"""What tests of the clients in other languages share."""

import pytest

from tests.support.languages import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("built"))
