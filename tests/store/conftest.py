"""What tests of the store have in common."""

import pytest

from kvd.store.redis import batching, channel
from tests.support.processes import PATIENCE


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests wait for a store that is away for longer than a machine may pause.

    For tests that cut connections, and are about what becomes of requests then.
    """
    for module in (batching, channel):
        monkeypatch.setattr(module, "GRACE", PATIENCE)
