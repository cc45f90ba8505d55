"""The dashboard of docs/examples: every metric and label in it is one that /metrics shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edge_har.pipeline.status import Counts, RunStatus, SinkState
from edge_har.web.machine import Readings
from tests.helpers.need import need_module

need_module("prometheus_client", "pip install -e '.[test]'")

from prometheus_client.parser import text_string_to_metric_families

from edge_har.web.metrics import Exposition, StatusCollector

DASHBOARD = Path(__file__).resolve().parents[1] / "docs" / "examples" / "grafana-dashboard.json"
METRIC = re.compile(r"\b((?:edge_har|process)_\w+)(?:\{([^}]*)\})?")
OF_PROMETHEUS = {"job", "instance"}  # labels that it adds itself


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The labels of each sample of /metrics."""
    status = RunStatus("m@1", ("Walk",), ["door"])
    door = status.source("door")
    door.turn("live")
    door.count(Counts(100, 40), 1.0)
    door.ticked(grabbed_s=1.0, now_s=1.1, cost_ms=1.0, ticks=1, label="Walk", score=0.9)
    status.add_sink(SinkState("mqtt"))
    readings = Readings({"cpu-thermal": 61.5}, ("under-voltage",), ("under-voltage",), 1)
    shown = Exposition(StatusCollector(status, lambda: readings, {("door", "Walk"): 6}, lambda: 2))
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(shown.text("text/plain")[0].decode())
        for sample in family.samples
    }


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    found = dashboard()
    targets = [target["expr"] for panel in found["panels"] for target in panel["targets"]]
    return targets + [one["definition"] for one in found["templating"]["list"] if "definition" in one]


def test_every_metric_and_label_is_exposed(exposed: dict[str, set[str]]) -> None:
    used = [
        (metric, set(re.findall(r"(\w+)=~?\"", labels)))
        for e in expressions()
        for metric, labels in metrics_of(e)
    ]
    assert len(used) > 20
    for metric, labels in used:
        assert metric in exposed, metric
        assert labels <= exposed[metric] | OF_PROMETHEUS, metric


def metrics_of(expression: str) -> list[tuple[str, str]]:
    return METRIC.findall(expression)


def test_legends_name_labels_that_are_exposed(exposed: dict[str, set[str]]) -> None:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            ((metric, _),) = metrics_of(target["expr"])
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert shown <= exposed[metric] | OF_PROMETHEUS, target


def test_panels_are_distinct_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
