"""Three minutes of a soak, with every kind of fault in it; `make soak` is the long form."""

from pathlib import Path

from tests.helpers.need import need_gstreamer, need_module, need_program
from tests.soak.plan import IDLE, OF_CAMERAS, OF_DESTINATIONS
from tests.soak.report import page, summary
from tests.soak.run import soak

SECONDS = 180.0


def test_three_minutes_of_faults(tmp_path: Path) -> None:
    need_program("mosquitto")
    need_gstreamer()
    for module in ("paho.mqtt", "tornado", "prometheus_client"):
        need_module(module, "pip install -e '.[test]'")
    soaked = soak(tmp_path / "soak", SECONDS, seed=0, commit="unknown", say=print)
    print(page(soaked, ["make", "soak", "MINUTES=3"]))
    assert soaked.problems() == [], summary(soaked)
    assert {*OF_CAMERAS, *OF_DESTINATIONS, IDLE} <= {fault.kind for fault in soaked.faults}
