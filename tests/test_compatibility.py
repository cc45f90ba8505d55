"""What earlier versions published or left on a device is read: bundles, configurations, spools, homes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_har.config.file import Config, read_config
from edge_har.deploy import receive as device
from edge_har.deploy.receive import Offer
from edge_har.deploy.replies import DeviceReply, Outcome
from edge_har.deploy.store import CURRENT, PREVIOUS, BundleStore
from edge_har.model.bundle import open_bundle, read_bundle
from edge_har.model.recognizer import check_golden
from edge_har.options.addresses import MASK
from edge_har.sinks.mqtt import MqttOptions
from edge_har.sinks.spool import Spool
from edge_har.sinks.webhook import WebhookOptions
from edge_har.system.files import HOME_VARIABLE
from tests.fixtures.make_compatibility import DELIVERED, FOLDER_MARK, SECRETS
from tests.helpers.bundles import variant
from tests.helpers.need import need_history

FOLDER = Path(__file__).parent / "fixtures" / "compatibility"
MAX_FIXTURE_BYTES = 200_000
WAITING: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "events.json").read_text(encoding="utf-8"))
REPLIES = (FOLDER / "replies.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the home that the earlier version left, as this machine's own."""
    shutil.copytree(FOLDER / "home", tmp_path / "home")
    for name, target in json.loads((FOLDER / "links.json").read_text(encoding="utf-8")).items():
        (tmp_path / "home" / name).symlink_to(target)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    """The configuration that uses every key of the earlier version."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return read_config(FOLDER / "edge-har.toml")


def test_the_fixtures_are_small() -> None:
    assert sum(path.lstat().st_size for path in FOLDER.rglob("*")) < MAX_FIXTURE_BYTES


@pytest.mark.parametrize(
    ("commit", "release", "digest"),
    [
        ("547ceca", 1, "81848d99e8d7"),
        ("9b175ac", 2, "c95391b46acf"),
        ("5ce7eea", 2, "948e3750e4fb"),
        ("d926caa", 3, "9ba42e6304f7"),
    ],
)
def test_a_published_bundle_gives_its_golden_scores(commit: str, release: int, digest: str) -> None:
    bundle = read_bundle(need_history(commit, "edge_har/default.ehar"))
    assert (bundle.manifest.release, bundle.digest[:12]) == (release, digest)
    assert len(bundle.manifest.golden) >= 3
    assert check_golden(bundle) <= bundle.manifest.golden_tolerance


def test_a_bundle_of_the_earlier_version_is_read_and_gives_its_golden_scores() -> None:
    bundle = open_bundle(FOLDER / "tiny.ehar")
    manifest = bundle.manifest
    assert (manifest.name, manifest.release, manifest.kind) == ("tiny", 1, "lrcn")
    assert manifest.labels == ("Left", "Middle", "Right")
    assert (manifest.frame.size_wh, manifest.temporal.frames, manifest.temporal.interval_ms) == (
        (8, 8),
        4,
        80,
    )
    assert check_golden(bundle) < 1e-5


def test_a_bundle_packed_again_has_the_same_bytes() -> None:
    content = (FOLDER / "tiny.ehar").read_bytes()
    assert variant(read_bundle(content)) == content


def test_a_configuration_with_every_key_of_the_earlier_version_means_the_same(config: Config) -> None:
    expected = json.loads((FOLDER / "config.json").read_text().replace(FOLDER_MARK, str(FOLDER.absolute())))
    assert contained(expected, config.to_json())


def test_secrets_of_such_a_configuration_are_looked_up(config: Config) -> None:
    mqtt, webhook = (sink for sink in config.sinks if isinstance(sink, (MqttOptions, WebhookOptions)))
    assert isinstance(mqtt, MqttOptions)
    assert isinstance(webhook, WebhookOptions)
    assert mqtt.password == SECRETS["BROKER_PASSWORD"]
    assert (webhook.secret, webhook.token) == (SECRETS["HOOK_SECRET"], SECRETS["HOOK_TOKEN"])
    assert config.web is not None
    assert config.web.token == SECRETS["PAGE_TOKEN"]
    shown = json.dumps(config.to_json())
    assert MASK in shown
    assert not [value for value in SECRETS.values() if value in shown]


@pytest.mark.parametrize("name", DELIVERED)
def test_events_that_the_earlier_version_did_not_deliver_wait_here(name: str, home: Path) -> None:
    spool = Spool(home / "spool" / name, name=name)
    try:
        events = spool.peek(100)
        assert [event.to_json() for event in events] == WAITING[name]
        assert len(spool) == len(events) == 7 - DELIVERED[name]
        assert spool.dropped == 0
    finally:
        spool.close()


def test_a_home_of_the_earlier_version_is_read_and_rolled_back(home: Path) -> None:
    first, second = (json.loads(line)["digest"] for line in REPLIES)
    reply = device.status()
    assert (reply.outcome, reply.model, reply.release) == (Outcome.OK, f"tiny@{second[:12]}", 2)
    assert reply.store is not None
    assert (reply.store["home"], reply.store[PREVIOUS]["release"]) == (str(home), 1)
    store = BundleStore()
    for digest in (first, second):
        check_golden(store.open_version(digest))

    assert device.roll_back().outcome is Outcome.OK
    assert (store.digest_of(CURRENT), store.digest_of(PREVIOUS)) == (first, second)


def test_a_home_of_the_earlier_version_takes_a_bundle(home: Path) -> None:
    content = variant(open_bundle(FOLDER / "tiny.ehar"), release=3, version="3.0")
    path = home.parent / "sent.ehar"
    path.write_bytes(content)
    with open(path, "rb") as file:
        reply = device.receive(Offer(len(content), hashlib.sha256(content).hexdigest()), file.fileno())
    assert (reply.outcome, reply.release) == (Outcome.OK, 3)
    assert BundleStore().digest_of(PREVIOUS) == json.loads(REPLIES[1])["digest"]


def test_a_device_with_the_earlier_version_is_understood() -> None:
    for number, line in enumerate(REPLIES, 1):
        reply = DeviceReply.from_line(line)
        assert reply is not None
        assert (reply.outcome, reply.release, reply.version) == (Outcome.OK, number, f"{number}.0")
        assert reply.to_json() == json.loads(line)


def contained(expected: object, found: object) -> bool:
    """Whether all of `expected` is in `found`, which may have more keys."""
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(
            key in found and contained(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(expected)
            and all(map(contained, expected, found))
        )
    return found == expected
