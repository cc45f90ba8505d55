"""Sinks as a user says them: tables and lines of text, secrets from the environment and files,
never on show.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from edge_har.config.file import config_of
from edge_har.errors import MisuseError
from edge_har.options.fields import options_of
from edge_har.sinks import KINDS, open_outputs, options_class, options_of_text
from edge_har.sinks.clips import ClipsOptions
from edge_har.sinks.jsonl import JsonLinesOptions
from edge_har.sinks.mqtt import MqttOptions
from edge_har.sinks.options import SinkOptions, slug
from edge_har.sinks.video import VideoOptions
from edge_har.sinks.webhook import WebhookOptions
from edge_har.sinks.window import WindowOptions
from tests.helpers.sinks import made_event, quick_path, setting

__all__ = ["quick_path"]  # a fixture

SAID = [
    ("jsonl:", JsonLinesOptions()),
    ("jsonl:-", JsonLinesOptions("-")),
    ("jsonl:/var/log/a b.jsonl?max_bytes=5M&keep=9", JsonLinesOptions("/var/log/a b.jsonl", 5_000_000, 9)),
    ("jsonl:e.jsonl?updates=no&name=quiet", JsonLinesOptions("e.jsonl", updates=False, name="quiet")),
    ("mqtt://broker", MqttOptions(host="broker")),
    (
        "mqtts://cam%40home@broker:8884/home/har?node=door&discovery=off",
        MqttOptions(
            host="broker",
            port=8884,
            user="cam@home",
            topic="home/har",
            tls=True,
            node="door",
            discovery="off",
        ),
    ),
    ("mqtt://[::1]:1884", MqttOptions(host="::1", port=1884)),
    (
        "https://h.org/x?a=b#timeout_s=3&spool=off",
        WebhookOptions(url="https://h.org/x?a=b", timeout_s=3.0, spool="off"),
    ),
    ("video:rec?codec=MJPG&rotate_s=60", VideoOptions(path="rec", codec="MJPG", rotate_s=60.0)),
    ("clips:rec?labels=Walk,Run&pre_s=3", ClipsOptions(path="rec", labels=("Walk", "Run"), pre_s=3.0)),
    ("window", WindowOptions()),
]


def options_of_table(kind: object, **table: object) -> SinkOptions:
    """The options of a [[sink]] of a configuration file."""
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in {"kind": kind, **table}.items()]
    return config_of(f"[[sink]]\n{''.join(lines)}".encode(), Path("/c.toml")).sinks[0]


@pytest.mark.parametrize(("text", "options"), SAID)
def test_a_line_says_a_sink(text: str, options: SinkOptions) -> None:
    assert options_of_text(text) == options


@pytest.mark.parametrize(("text", "options"), SAID)
def test_a_table_says_the_same(text: str, options: SinkOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    table: dict[str, object] = {
        f.name: list(value) if isinstance(value := getattr(options, f.name), tuple) else value
        for f in fields(options)
        if getattr(options, f.name) != f.default
    }
    expected = options
    for name, declared in options_of(type(options)).items():
        value = getattr(options, name)
        if declared.secret and value:
            del table[name]
            table[f"{name}_env"] = f"SINK_{name}"
            monkeypatch.setenv(f"SINK_{name}", value)
        elif declared.kind.is_path and value and value not in declared.words:
            expected = replace(expected, **{name: str(Path("/") / value)})
    assert options_of_table(options.kind, **table) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a sink is"),
        ("carrier-pigeon:x", "a sink is"),
        ("jsonl", "a sink is"),
        ("video:", "path is the folder"),
        ("mqtt://", "host"),
        ("mqtt:broker", "a broker is written"),
        ("mqtt://broker:port", "a broker is"),
        ("mqtt://me:hunter2@broker", "list of processes"),
        ("mqtt://me@broker?password=hunter2", "list of processes"),
        ("https://h/#secret=hunter2", "list of processes"),
        ("https://h/#url_env=PATH", "given twice"),
        ("jsonl:e.jsonl?path=x", "given twice"),
        ("jsonl:e.jsonl?keep=many", r"jsonl\.keep: expected a whole number"),
        ("jsonl:e.jsonl?keep=", r"jsonl\.keep: expected a whole number"),
        ("jsonl:e.jsonl?updates=perhaps", r"jsonl\.updates: expected true or false"),
        ("jsonl:e.jsonl?speed=9", r"jsonl\.speed: no such key"),
        ("jsonl:e.jsonl?name=a/b", "a sink's name"),
    ],
)
def test_what_cannot_be_is_said_without_secrets(text: str, reason: str) -> None:
    with pytest.raises(MisuseError, match=reason) as caught:
        options_of_text(text)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"kind": "pigeon"}, "kind: expected one of"),
        ({"kind": 7}, "kind: expected one of"),
        ({"kind": "mqtt", "host": 7}, "host: expected a text"),
        ({"kind": "mqtt", "host": "h", "port": True}, "port: expected a whole number, 1 to 65535"),
        ({"kind": "mqtt", "host": "h", "port": 1.5}, "port: expected a whole number"),
        ({"kind": "clips", "path": "x", "labels": [1]}, "labels: expected a list of texts"),
        ({"kind": "clips", "path": "x", "pre_s": 61}, "pre_s: expected a time.*0 to 60, found 61"),
        (
            {"kind": "video", "path": "x", "codec": "h265"},
            'codec: expected "h264", "mp4v" or "MJPG", found "h265"',
        ),
        ({"kind": "webhook", "url": "http://h/", "timeout_s": "soon"}, "timeout_s: expected a time"),
        ({"kind": "jsonl", "path_env": "X"}, "path_env: no such key"),
    ],
)
def test_tables_are_checked_by_key(table: dict[str, object], reason: str) -> None:
    with pytest.raises(MisuseError, match=reason):
        options_of_table(**table)


def test_secrets_come_from_the_environment_and_from_files_that_nobody_else_reads(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    path = quick_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    for text in ("mqtt://me@h?password_env=BROKER_PASSWORD", f"mqtt://me@h?password_file={path}"):
        options = options_of_text(text)
        assert options == MqttOptions(host="h", user="me", password="hunter2")
        assert "hunter2" not in repr(options)
    hook = options_of_table("webhook", url="http://h/", secret_file=str(path))
    assert hook == WebhookOptions(url="http://h/", secret="hunter2")

    path.chmod(0o640)
    with pytest.raises(MisuseError, match=r"others may read .*chmod 600"):
        options_of_text(f"mqtt://me@h?password_file={path}")
    (quick_path / "empty").touch(mode=0o600)
    for wrong, reason in (
        (f"password_file={quick_path / 'empty'}", "is empty"),
        (f"password_file={quick_path / 'none'}", "cannot be read"),
        ("password_env=NO_SUCH", "no variable 'NO_SUCH'"),
        (f"password_env=BROKER_PASSWORD&password_file={path}", "."),
    ):
        with pytest.raises(MisuseError, match=reason):
            options_of_text(f"mqtt://me@h?{wrong}")


def test_a_password_in_a_webhooks_address_is_refused_as_that_of_a_broker() -> None:
    for text in ("mqtt://me:s3cret@h", "https://me:s3cret@h/x"):
        with pytest.raises(MisuseError, match="list of processes") as caught:
            options_of_text(text)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["video", "clips"])
def test_a_file_is_no_folder_to_record_to(kind: str, quick_path: Path) -> None:
    (quick_path / "file").touch()
    with pytest.raises(MisuseError, match="is no folder to record to"):
        options_of_text(f"{kind}:{quick_path / 'file'}").open(setting())


@pytest.mark.parametrize("kind", ["video", "clips", "jsonl"])
def test_a_path_that_cannot_be_used_is_one_line(
    kind: str, quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "")
    for path, why in ((quick_path / ("n" * 300), "File name too long"), ("~/x", "no home folder")):
        with pytest.raises(MisuseError, match=why):
            options_of_text(f"{kind}:{path}").open(setting())


def test_a_text_that_is_no_path_must_be_utf8() -> None:
    odd = os.fsdecode(b"caf\xe9")
    for text in (f"https://h/{odd}", f"mqtt://h?topic={odd}"):
        with pytest.raises(MisuseError, match="holds bytes that are not UTF-8"):
            options_of_text(text)
    assert options_of_text(f"jsonl:{odd}") == JsonLinesOptions(odd)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_declared_as_an_option_with_help(kind: str) -> None:
    found = options_class(kind)
    declared = options_of(found)
    assert set(declared) == {field.name for field in fields(found)}
    assert all(option.help and len(option.help) < 120 for option in declared.values())
    for option in declared.values():
        with pytest.raises((TypeError, ValueError)):
            option.read_loosely(object())


def test_names_make_topics_and_file_names_and_never_meet() -> None:
    names = [
        "door",
        "door ",
        "a/b",
        "a+b",
        "Tür",
        "门",
        "窗",
        "rtsp://u:***@h/x",
        "rtsp://u:***@h/y",
        "_",
        "-",
    ]
    slugs = [slug(name) for name in names]
    assert slugs[0] == "door"
    assert len(set(slugs)) == len(names)
    assert all(s and s.replace("_", "").replace("-", "x").isalnum() and s.isascii() for s in slugs)


def test_two_sinks_of_one_name_are_refused_and_nothing_stays_open(quick_path: Path) -> None:
    twice = [JsonLinesOptions(str(quick_path / name)) for name in ("a", "b")]
    with pytest.raises(MisuseError, match="two sinks are called jsonl"):
        open_outputs(twice, setting())
    how = JsonLinesOptions(str(quick_path / "a"), spool=str(quick_path / "spool"))
    with pytest.raises(MisuseError, match="there is no folder"):
        open_outputs([how, JsonLinesOptions(str(quick_path / "no" / "b"), name="b")], setting())
    outputs = open_outputs([how], setting())  # the spool is free again
    outputs.event_sinks[0].write(made_event(1))
    outputs.close()
    assert (quick_path / "a").read_bytes().count(b"\n") == 1


def test_events_wait_in_the_home_of_edge_har(quick_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_HAR_HOME", str(quick_path))
    sink = options_of_text("http://127.0.0.1:1/#name=hook").open(setting()).events
    sink.write(made_event(1))
    sink.close()
    (path,) = (quick_path / "spool" / "hook").glob("*.events")
    assert made_event(1).id in path.read_text()
    assert os.stat(path.parent).st_mode & 0o077 == 0
