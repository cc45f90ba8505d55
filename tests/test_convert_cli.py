"""What `edge-har convert` reads beside the model, before TensorFlow is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.cli import read_figures
from edge_har.errors import DataError


def test_figures_are_a_protocol_and_metrics(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text('{"protocol": "leave-one-group-out", "metrics": {"a": 0.5}, "made_by": "hand"}')
    assert read_figures(path) == {"protocol": "leave-one-group-out", "metrics": {"a": 0.5}}
    path.write_text("{}")
    assert read_figures(path) == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"metrics": 7}',
        '{"protocol": null}',
        '{"metrics": {"a": NaN}}',
        '{"metrics": {"a": "\\ud800"}}',
        '{"metrics": ' + '{"a":' * 900 + "1" + "}" * 901,
    ],
)
def test_figures_that_no_manifest_can_hold_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"figures\.json: (figures cannot be read|expected an object)"):
        read_figures(path)
    with pytest.raises(DataError, match="figures cannot be read"):
        read_figures(tmp_path / "absent.json")
