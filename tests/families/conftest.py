import pytest

from stages.engines import training
from tests.unit.train import tiny


@pytest.fixture
def made_up_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages read samples that are made up from their numbers."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
