"""What the tests of figures share."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, kept as they are saved."""
    kept = []
    save = Figure.savefig

    def keep(figure, *arguments, **given):
        if figure not in kept:
            kept.append(figure)
        save(figure, *arguments, **given)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept
