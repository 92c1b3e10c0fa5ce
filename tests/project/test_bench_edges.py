"""bench.edges: a tiny run, which shows that it measures what it says, and that it ends."""

import pytest

from bench import edges


@pytest.mark.slow
def test_it_compares_an_edge_with_its_root(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "TIMED", 10)
    edges.main(["--rounds", "1", "--seconds", "0.2", "--watchers", "5", "--levels", "1"])
    said = capsys.readouterr().out
    assert "deliveries of an edge: " in said
    assert "us a level" in said
