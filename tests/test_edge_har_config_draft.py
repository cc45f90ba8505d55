"""A new configuration file: it sets what it is to, explains the rest, and reads back as what was meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_har.config.draft import Draft, table_lines
from edge_har.config.file import Config, all_tables, config_of
from edge_har.errors import MisuseError


def read(draft: Draft) -> Config:
    """The draft as `run` reads it, its secrets beside it."""
    draft.write_secrets()
    return config_of(draft.text().encode(), draft.path)


@pytest.fixture
def draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draft:
    monkeypatch.chdir(tmp_path)
    return Draft(tmp_path / "e.toml")


def test_what_is_set_reads_back_and_the_rest_is_as_without_a_file(draft: Draft, tmp_path: Path) -> None:
    draft.model = "/srv/a b.ehar"
    draft.add_source("door=rtsp://guard:hunter2@192.168.1.2/s")
    draft.add_source("yard=walk.avi?rotate=90")
    draft.add_sink("mqtt://me@broker.local:1884/home?updates=no", "sesame")
    draft.add_sink("clips:clips?labels=Walk,Run&pre_s=3")
    draft.add_sink("https://h.example/x?a=b#timeout_s=4s")
    draft.set_web("0.0.0.0:8081")
    config = read(draft)
    assert (
        config.model == "/srv/a b.ehar" and config.options == Config().options and config.log == Config().log
    )
    door, yard = config.sources
    assert (door.name, door.address.target) == ("door", "rtsp://guard:hunter2@192.168.1.2/s")
    assert (yard.name, yard.address.target) == ("yard", str(tmp_path / "walk.avi"))
    assert yard.address.options.rotate == 90
    mqtt, clips, webhook = config.sinks
    expected = {"host": "broker.local", "port": 1884, "user": "me", "password": "sesame", "topic": "home"}
    assert {name: getattr(mqtt, name) for name in expected} == expected and mqtt.updates is False
    assert (clips.path, clips.labels, clips.pre_s) == (str(tmp_path / "clips"), ("Walk", "Run"), 3.0)
    assert (webhook.url, webhook.timeout_s) == ("https://h.example/x?a=b", 4.0)
    assert config.web is not None and config.web.token is not None and len(config.web.token) >= 16


def test_no_secret_stands_in_the_file_and_others_cannot_read_them(draft: Draft, tmp_path: Path) -> None:
    draft.add_source("a=rtsp://u:hunter2@h/")
    draft.add_source("b=rtsp://u@h/", "hunter2")
    draft.add_sink("mqtt://u@h", "hunter2")
    draft.set_web("[::]:80")
    written = draft.write_secrets()
    assert "hunter2" not in draft.text() and "hunter2" not in repr(draft)
    assert [path.name for path in written] == ["a-password", "b-password", "mqtt-password", "web-token"]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o700
    with pytest.raises(FileExistsError):
        draft.write_secrets()


def test_two_unnamed_sources_have_a_file_each(draft: Draft) -> None:
    draft.add_source("rtsp://u:first@h1/")
    draft.add_source("rtsp://u:second@h2/")
    assert [source.address.target for source in read(draft).sources] == [
        "rtsp://u:first@h1/",
        "rtsp://u:second@h2/",
    ]


def test_a_page_for_this_machine_alone_needs_no_token(draft: Draft) -> None:
    draft.set_web("127.0.0.1:8080")
    assert draft.secret_files == {}


def test_every_key_is_there_with_what_it_means_and_what_holds_without_it_can_be_uncommented(
    draft: Draft,
) -> None:
    draft.add_source("0")
    for kind in (
        "jsonl:e.jsonl",
        "mqtt://h",
        "http://h/",
        "video:v",
        "clips:c",
        "window",
        "apprise:json://h",
    ):
        draft.add_sink(kind)
    draft.set_web()
    text = draft.text()
    for name, options in all_tables().items():
        for option in options.values():
            assert f"# {option.help.replace('`', '')}\n" in text, (name, option.name)
    # Each default that the comments name is one that the reader takes, and changes nothing.
    defaults = re.sub(r"^#(?=[a-z]\w* = [^ \n])", "", text, flags=re.MULTILINE)
    defaults = re.sub(r"^enabled = true$", "", defaults, flags=re.MULTILINE)
    assert defaults != text
    before, after = (config_of(content.encode(), draft.path) for content in (text, defaults))
    assert before.to_json() == after.to_json()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" ", "a source needs an address"),
        ("do or=rtsp://h/", "a source's name is"),
        ("gst:rtspsrc location=rtsp://u:p@h/ ! x", "write the address as"),
    ],
)
def test_a_source_that_cannot_be_is_refused(draft: Draft, text: str, problem: str) -> None:
    with pytest.raises(MisuseError, match=problem) as error:
        draft.add_source(text)
    assert "u:p@" not in str(error.value)


def test_a_sink_with_a_password_in_its_address_is_refused(draft: Draft) -> None:
    with pytest.raises(MisuseError, match="use password_env or password_file"):
        draft.add_sink("mqtt://u:p@h")


def test_table_lines_name_a_secret_by_its_file() -> None:
    lines = list(table_lines(all_tables()["web"], {}))
    assert "#token_file =" in lines and not [line for line in lines if line.startswith("#token =")]
