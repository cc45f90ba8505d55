"""What the whole test run makes once, in however many processes it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.alone import alone


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `trained` keeps its RUNs, their `clips`, and their decoded `cache`:
    of all processes of this test run.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "runs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def trained(runs_folder: Path) -> Callable[..., Path]:
    """A finished RUN of a kind, as `train_tiny` makes it; to be read, not changed."""
    from tests.helpers.runs import train_tiny

    def run(kind: str, *, everything: bool = False) -> Path:
        name = f"{kind}-all" if everything else kind
        with alone(runs_folder / "lock"):
            noted = runs_folder / f"{name}.path"  # written last
            if not noted.exists():
                noted.write_text(str(train_tiny(kind, runs_folder, everything=everything)))
        return Path(noted.read_text())

    return run
