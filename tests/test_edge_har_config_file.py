"""The configuration file: what its keys become, how problems are reported,
where secrets come from and never go.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from edge_har.cli import run
from edge_har.config.declared import LogOptions
from edge_har.config.file import Config, ConfigError, config_of, label_of_text, read_config, web_of_text
from edge_har.config.plan import CommandLine, Plan, merge
from edge_har.errors import EdgeHarError
from edge_har.options.durations import parse_duration
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import Hours, LabelRule, Rules
from edge_har.sinks.jsonl import JsonLinesOptions
from edge_har.sinks.mqtt import MqttOptions
from edge_har.sinks.webhook import WebhookOptions
from edge_har.web import WebOptions
from tests.helpers import fuzz_bundle, fuzz_config
from tests.helpers.colours import colour_bundle
from tests.helpers.fuzzing import run_cases

SECRET = "hunter2-öß"
TOKEN = "0123456789abcdef"
EVERYTHING = """
model = "models/mine.ehar"
threads = 2
duration_s = "2h"
realtime = true
wait_for_source = true
give_up_s = "10m"
display = true

[[source]]
name = "door"
uri = "rtsp://user@10.0.0.5/stream"
password_env = "DOOR"
rotate = 90
transport = "udp"

[[source]]
name = "attic"
uri = "clips/*.avi"
crop = [0, 0, 64, 48]

[events]
smooth_s = 0.5
enter = 0.7
leave = 0.3
min_s = "1s"
cooldown_s = "1m"
unknown = true
zone = "UTC"

[labels.Red]
enabled = false
[labels.Green]
enter = 0.9
cooldown_s = 5
hours = ["22:00-06:00", "12:00-13:00"]
sources = ["door"]

[[sink]]
kind = "jsonl"
path = "events.jsonl"
max_bytes = "5M"
[[sink]]
kind = "mqtt"
host = "broker"
user = "me"
password_file = "secret"
[[sink]]
kind = "webhook"
url_env = "HOOK"
secret_file = "secret"
timeout_s = "5s"

[web]
listen = "0.0.0.0:80"
token_env = "TOKEN"
rate_hz = 2

[log]
level = "debug"
form = "journald"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a configuration, with a secret in a file and others in the environment."""
    for name, value in (("DOOR", SECRET), ("TOKEN", TOKEN), ("HOOK", f"https://h/{TOKEN}")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("EDGE_HAR_WEB_TOKEN", raising=False)
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\nmore\n")
    path.chmod(0o600)
    return tmp_path


def plan_of(config: Config) -> Plan:
    """What a run does that has the file alone."""
    return merge(config, CommandLine())


def problems(text: str, folder: Path) -> list[str]:
    """What is said of a file, without its name."""
    with pytest.raises(ConfigError) as caught:
        config_of(text.encode(), folder / "c.toml")
    assert SECRET not in str(caught.value)
    return [line.removeprefix(f"{folder}/c.toml").removeprefix(": ") for line in caught.value.problems]


def test_every_key_is_taken(folder: Path) -> None:
    config = config_of(EVERYTHING.encode(), folder / "c.toml")
    night = (Hours(22 * 60, 6 * 60), Hours(12 * 60, 13 * 60))
    rules = Rules(
        {"Red": LabelRule(enabled=False), "Green": LabelRule(True, 0.9, 5.0, night, ("door",))}, "UTC"
    )
    assert config.model == str(folder / "models/mine.ehar")
    assert config.options == RunOptions(
        threads=2,
        duration_s=7200.0,
        realtime=True,
        wait_for_source=True,
        give_up_s=600.0,
        smooth_s=0.5,
        enter=0.7,
        leave=0.3,
        min_s=1.0,
        cooldown_s=60.0,
        unknown=True,
        rules=rules,
    )
    door, attic = config.sources
    assert (door.name, door.address.options.rotate, door.address.options.transport) == ("door", 90, "udp")
    assert door.address.target == "rtsp://user:hunter2-%C3%B6%C3%9F@10.0.0.5/stream"
    assert attic.address.target == str(folder / "clips/*.avi") and attic.address.name == "clips/*.avi"
    assert config.sinks == (
        JsonLinesOptions(str(folder / "events.jsonl"), 5_000_000),
        MqttOptions(host="broker", user="me", password=SECRET),
        WebhookOptions(url=f"https://h/{TOKEN}", secret=SECRET, timeout_s=5.0),
    )
    assert config.web == WebOptions("0.0.0.0:80", TOKEN, 2.0)
    assert config.log == LogOptions("debug", "journald") and config.display


def test_an_empty_file_is_what_holds_without_one(folder: Path) -> None:
    config = config_of(b"\xef\xbb\xbf", folder / "c.toml")
    assert (config.options, config.sources, config.sinks, config.web) == (RunOptions(), (), (), None)
    zero = config_of(b"duration_s = 0\ngive_up_s = '0s'", folder / "c.toml")
    assert (zero.options.duration_s, zero.options.give_up_s) == (None, None)


def test_secrets_never_show_in_what_is_made_of_them(folder: Path) -> None:
    config = config_of(EVERYTHING.encode(), folder / "c.toml")
    shown = json.dumps(config.to_json()) + repr(config)
    for secret in (SECRET, TOKEN, "hunter2"):
        assert secret not in shown and secret not in json.dumps(config.to_json(), ensure_ascii=False)
    assert config.to_json()["sink"][1]["password"] == "***"
    assert config.to_json()["source"][0]["uri"] == "rtsp://user@10.0.0.5/stream"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modell = 'x'", "modell: no such key; did you mean model?"),
        ("[[sources]]\nuri = '0'", "sources: no such key; did you mean source?"),
        ("smooth_s = 1", "smooth_s: no such key; it belongs in [events]"),
        ("[events]\nthreads = 1", "events.threads: no such key; it belongs before the first table"),
        ("[[source]]\nuri = '0'\nrotat = 90", "source[1].rotat: no such key; did you mean rotate?"),
        ("[[source]]\nuri = 'rtsp://u@h'\npassword_fil = 'x'", "did you mean password_file?"),
        ("[zzz]", "zzz: no such key; expected one of model, threads,"),
        ("threads = 'two'", 'threads: expected a whole number, 1 to 256, found "two"'),
        ("threads = true", "threads: expected a whole number, 1 to 256, found true"),
        ("threads = 0", "threads: expected a whole number, 1 to 256, found 0"),
        ("realtime = 'yes'", 'realtime: expected true or false, found "yes"'),
        ("give_up_s = '10 minutes'", 'give_up_s: expected a time, such as 90, 1.5, 90s, 10m or 2h; 0: no'),
        ("duration_s = -1", "duration_s: expected a time"),
        ("duration_s = 2026-11-21", "found a date or time"),
        ("model = ['x']", "model: expected a text, found a list"),
        ("[events]\nenter = 7", "events.enter: expected a probability, 0 to 1, found 7"),
        ("[events]\nenter = nan", "events.enter: expected a probability, 0 to 1, found nan"),
        ("[events]\nenter = 0.4\nleave = 0.5", "events.leave: must not be above enter, 0.4, got 0.5"),
        ("[events]\nzone = 'Mars'", "events.zone: no time zone 'Mars'"),
        ("events = 1", "events: expected a table, [events], found 1"),
        ("[labels.Walk]\nhours = ['25:00-06:00']", "labels.Walk.hours: hours are HH:MM-HH:MM"),
        ("[labels.'a b']\nentr = 1", 'labels."a b".entr: no such key; did you mean enter?'),
        ("[labels]\nWalk = true", "labels.Walk: expected a table, [labels.Walk], found true"),
        ("[source]\nuri = '0'", "source: expected tables, each begun with [[source]], found a table"),
        ("source = [1]", "source[1]: expected a table, found 1"),
        ("[[source]]\nname = 'a'", "source[1]: uri is missing"),
        ("[[source]]\nuri = '0'\nname = 'a b'", "source[1].name: a name is letters, digits, _ and -"),
        ("[[source]]\nuri = '0'\nrotate = 45", "source[1].rotate: expected 0, 90, 180 or 270, found 45"),
        ("[[source]]\nuri = '0'\nsize = 'big'", 'source[1].size: expected like 640x480, found "big"'),
        ("[[source]]\nuri = '0'\ntransport = 'tcp'", "source[1]: 0: 'transport' is no option of such a"),
        ("[[source]]\nuri = 'gopher://h'", "source[1]: no source is called 'gopher://h'"),
        ("[[source]]\nuri = '0'\n[[source]]\nuri = '0'", "source: 2 of them are called 0"),
        (("[[sink]]\npath = "
         "'x'"), "sink[1].kind: expected one of jsonl, mqtt, webhook, apprise, video, clips, window; it"),
        ("[[sink]]\nkind = 'mqt'", 'found "mqt"; did you mean mqtt?'),
        (("[[sink]]\nkind = 'mqtt'\nhost = 'h'\nport = "
         "'x'"), 'sink[1].port: expected a whole number, 1 to 65535, found "x"'),
        (("[[sink]]\nkind = 'mqtt'\nhost = 'h'\nport = "
         "99999"), "sink[1].port: expected a whole number, 1 to 65535, found 99999"),
        ("[[sink]]\nkind = 'clips'", "sink[1].path: is the folder to record to"),
        ("[[sink]]\nkind = 'jsonl'\n[[sink]]\nkind = 'jsonl'", "sink: 2 of them are called jsonl"),
        ("display = true\n[[sink]]\nkind = 'window'", "sink: 2 of them are called window"),
        ("[[sink]]\nkind = 'jsonl'\npath = 'x'\nname = 'stdout'", "sink: 2 of them are called stdout"),
        ("[web]\nlisten = '0.0.0.0:80'", "web: 0.0.0.0:80 can be reached from other machines"),
        (("[web]\nport = "
         "80"), "web.port: no such key; expected one of listen, rate_hz, picture_px, token_env,"),
        ("[log]\nlevel = 'loud'", 'log.level: expected "error", "warning", "info" or "debug", found "loud"'),
        ("\nmodel = \n", ":2: Invalid value (column 9)"),
        ("a = [", ":1: Invalid value (at the end)"),
        ("a = " + "[" * 5000, "tables and lists are nested too deep"),
        ("a = 1" + " " * 300_000, "a configuration is at most"),
        ("a = '\u2028\x7f'", ":1: "),
        ("threads = " + "9" * 5000, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_key(text: str, says: str, folder: Path) -> None:
    (line,) = problems(text, folder)
    assert says in line and line.isprintable() and len(line) < 400, line


def test_all_problems_are_told_at_once(folder: Path) -> None:
    text = (
        "threads = 'x'\n[events]\nentr = 1\nenter = 2\n[[source]]\nrotat = 1\n[[sink]]\nkind = "
        "'x'\n[web]\nlisten = 1\n"
    )
    keys = [line.split(":")[0] for line in problems(text, folder)]
    assert keys == [
        "threads",
        "events.entr",
        "events.enter",
        "source[1].rotat",
        "source[1]",
        "sink[1].kind",
        "web.listen",
    ]
    many = "".join(f"key{number} = 1\n" for number in range(80))
    assert problems(many, folder)[-1] == "and 30 more"


@pytest.mark.parametrize(
    "text",
    [
        f"[[source]]\nuri = 'rtsp://u@h/'\npassword = '{SECRET}'",
        f"[[source]]\nuri = 'rtsp://u:{SECRET}@h/'",
        f"[[source]]\nuri = 'rtsp://u:12/{SECRET}@h/'",
        f"[[source]]\nuri = 'rtsp://u@home:a {SECRET}@h/'",
        f"[[source]]\nuri = 'rtsp:/u:{SECRET}@h/'",
        f"[[source]]\nuri = 'rtsp//u:{SECRET}@h/'",
        f"[[source]]\nuri = 'gst:a location=rtsp:/u:{SECRET}@h/ ! b'",
        f"[[sink]]\nkind = 'mqtt'\nhost = 'h'\nuser = 'u'\npassword = '{SECRET}'",
        f"[[sink]]\nkind = 'webhook'\nurl = 'https://h/'\nsecret = '{SECRET}'",
        f"[[sink]]\nkind = 'webhook'\nurl = 'https://h/'\ntoken = '{SECRET}'",
        f"[[sink]]\nkind = 'webhook'\nurl = 'https://u:{SECRET}@h/'",
        f"[[sink]]\nkind = 'webhook'\nurl = 'https://u:12/{SECRET}@h/'",
        f"[[sink]]\nkind = 'webhook'\nurl = 'https:/my name:a\\t{SECRET}@h/'",
        f"[web]\ntoken = '{SECRET}{SECRET}'",
    ],
)
def test_no_secret_stands_in_the_file(text: str, folder: Path) -> None:
    (line,) = problems(text, folder)
    key = text.rpartition("\n")[2].split()[0]
    assert f"{key}_env or {key}_file" in line and f"{key}:" in line


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("password_env = 'NO_SUCH'", "password_env: the environment has no variable 'NO_SUCH'"),
        ("password_env = 7", "password_env: expected the name of a variable"),
        ("password_file = 'none'", "password_file: none cannot be read: No such file"),
        ("password_file = '.'", "password_file: . cannot be read"),
        ("password_file = 'open'", "password_file: others may read open; chmod 600 it"),
        ("password_file = 'empty'", "password_file: empty is empty"),
        ("password_file = 'bytes'", "password_file: bytes cannot be read: no text"),
        ("password_file = 'secret'\npassword_env = 'DOOR'", "password_env: password is given twice"),
    ],
)
def test_a_secret_that_cannot_be_looked_up_is_said_by_key(place: str, says: str, folder: Path) -> None:
    for name, content, mode in (
        ("open", SECRET.encode(), 0o640),
        ("empty", b"", 0o600),
        ("bytes", b"\xff", 0o600),
    ):
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)
    (line,) = problems(f"[[source]]\nuri = 'rtsp://u@h/'\n{place}", folder)
    assert line.startswith(f"source[1].{says}")


def test_a_credential_of_systemd_is_found_although_its_group_bits_are_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secret").chmod(0o440)  # as an access list for one user looks
    text = b"[[source]]\nuri = 'rtsp://u@h/'\npassword_file = '${CREDENTIALS_DIRECTORY}/secret'"
    with pytest.raises(ConfigError, match="cannot be read"):
        config_of(text, folder / "c.toml")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert config_of(text, folder / "c.toml").sources[0].address.target.startswith("rtsp://u:hunter2")
    (folder / "secret").chmod(0o444)
    with pytest.raises(ConfigError, match="others may read"):
        config_of(text, folder / "c.toml")


def test_an_address_may_be_a_secret_as_a_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA", f"http://u:{SECRET}@h/mjpg?token={TOKEN}")
    config = config_of(b"[[source]]\nuri_env = 'CAMERA'", folder / "c.toml")
    assert config.sources[0].name == "http://u:***@h/mjpg?token=***"
    assert SECRET in config.sources[0].address.target


def test_the_pages_token_may_stand_in_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_HAR_WEB_TOKEN", TOKEN)
    config = config_of(b"[web]\nlisten = '0.0.0.0:80'", folder / "c.toml")
    assert config.web is not None and config.web.token == TOKEN


def test_names_are_looked_up_in_the_model_and_among_the_sources(folder: Path) -> None:
    text = (
        "[[source]]\nname = 'door'\nuri = '0'\n[labels.Rde]\n[labels.Red]\nsources = ['dor', 'cellar']\n"
        "[[sink]]\nkind = 'clips'\npath = 'x'\nlabels = ['green']\n"
    )
    config = config_of(text.encode(), folder / "c.toml")
    with pytest.raises(ConfigError) as caught:
        plan_of(config).check_fit(colour_bundle().manifest)
    assert [line.partition("c.toml: ")[2] for line in caught.value.problems] == [
        "labels.Rde: no label of the model is called 'Rde'; did you mean 'Red'?",
        "labels.Red.sources: no source is called 'dor'; did you mean 'door'?",
        "labels.Red.sources: no source is called 'cellar'; there are door",
        "sink[1].labels: no label of the model is called 'green'; did you mean 'Green'?",
    ]
    unknown = config_of(b"[events]\nunknown = true\n[labels.unknown]\n", folder / "c.toml")
    with pytest.raises(ConfigError, match=r"events: the bundle has no reject threshold"):
        plan_of(unknown).check_fit(colour_bundle().manifest)
    plan_of(unknown).check_fit(colour_bundle(reject_threshold=0.5).manifest)


@pytest.mark.parametrize(("path", "says"), [("none.toml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_one_line(path: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"cannot be read: {says}") as caught:
        read_config(tmp_path / path)
    assert len(caught.value.problems) == 1


def test_text_that_is_not_utf_8_is_told_by_line(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"c\.toml:3: not UTF-8 text"):
        config_of(b"a = 1\n\nb = '\xff'\n", folder / "c.toml")


def test_what_stands_in_tables_can_be_said_in_one_line() -> None:
    assert label_of_text("Walk") == ("Walk", LabelRule())
    text = "Wave Two?enabled=no&enter=0.8&cooldown_s=1m&hours=22:00-06:00,12:00-13:00&sources=door,attic"
    night = (Hours(22 * 60, 6 * 60), Hours(12 * 60, 13 * 60))
    assert label_of_text(text) == ("Wave Two", LabelRule(False, 0.8, 60.0, night, ("door", "attic")))
    of_file = WebOptions("0.0.0.0:80", TOKEN)
    assert web_of_text("127.0.0.1:0?rate_hz=2&picture_px=320", None) == WebOptions(
        "127.0.0.1:0", None, 2.0, 320
    )
    assert web_of_text("0.0.0.0:81?rate_hz=2", of_file) == WebOptions("0.0.0.0:81", TOKEN, 2.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("?enter=1", "--label: expected NAME"),
        ("Walk?entr=1", r"--label\.entr: no such key; did you mean enter\?"),
        ("Walk?enter=2", r"--label\.enter: expected a probability, 0 to 1, found \"2\""),
        ("Walk?hours=9-5", r"--label\.hours: hours are HH:MM-HH:MM"),
        ("Walk?enter=1&enter=0", "given twice"),
    ],
)
def test_a_line_that_cannot_be_is_told_as_a_table_is(text: str, says: str) -> None:
    with pytest.raises(EdgeHarError, match=says):
        label_of_text(text)


def test_the_pages_token_does_not_stand_on_the_command_line(folder: Path) -> None:
    with pytest.raises(EdgeHarError, match="use token_env or token_file") as caught:
        web_of_text(f"0.0.0.0:80?token={TOKEN}", None)
    assert TOKEN not in str(caught.value)
    assert web_of_text("0.0.0.0:80?token_env=TOKEN", None).token == TOKEN


# What must agree --------------------------------------------------------------------------------------------


def test_every_option_of_the_command_line_is_in_the_file() -> None:
    here = {param.name for param in run.command.params} - {
        "config_path",
        "demo",
        "as_json",
        "quiet",
        "verbose",
    }
    same = {"model", "display", "zone", "form", *(f.name for f in fields(RunOptions))} - {"rules"}
    assert here == same | {"sources", "cameras", "sinks", "labels", "web"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *((90, 90.0), (1.5, 1.5), (0, 0.0)),
        *(("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("10m", 600.0), (" 2 H", 7200.0)),
    ],
)
def test_times_are_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "m", "-1", "1d", "1h30m", "nan", "inf", "1e3", -1, True, None, float("nan"), float("inf"), []],
)
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        parse_duration(text)


# Hostile input; 10,000 of each are fed by `make fuzz` -------------------------------------------------------


def test_damaged_configurations_are_refused_in_words() -> None:
    taken, refused = run_cases("configuration", fuzz_config.case, 400, seed=100)
    assert taken > 5 and refused > 300


def test_damaged_bundles_are_refused_in_words() -> None:
    taken, refused = run_cases("bundle", fuzz_bundle.case, 500, seed=100)
    assert taken > 10 and refused > 400


def test_the_fuzzed_configuration_is_valid_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUZZ_SECRET", SECRET)
    with pytest.raises(EdgeHarError, match="token must be"):
        config_of(fuzz_config.whole().encode(), Path("c.toml"))
    monkeypatch.setenv("FUZZ_SECRET", fuzz_config.SECRET)
    fuzz_config.use(config_of(fuzz_config.whole().encode(), Path("c.toml")))
