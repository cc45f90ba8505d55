"""Hostile configurations: a valid one with damaged bytes, or with other keys and values.

`python -m tests.helpers.fuzz_config --count 10000` reads so many, and shows what it reads.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import os
import random
import sys
from pathlib import Path
from typing import Any

from edge_har.cli.config import summary_lines
from edge_har.config.file import Config, config_of
from edge_har.config.plan import CommandLine, merge
from edge_har.errors import EdgeHarError
from tests.helpers.colours import colour_bundle
from tests.helpers.fuzzing import changed, damaged, main

WORDS = (
    b"[[sink]]\n",
    b"[",
    b"]",
    b'"""',
    b"= ",
    b"\n",
    b"a.",
    b"{",
    b"'",
    b"#",
    b"\xff",
    b"[[[[",
    b"nan",
    b"9" * 50,
    b"\\u0000",
)
SECRET = "hunter2-must-never-be-shown"


@functools.cache
def whole() -> str:
    """A valid configuration that has every table, and the secrets that it asks for."""
    return (
        'model = "m"\nthreads = 2\nduration_s = "2h"\ngive_up_s = 90\nrealtime = true\nwait_for_source = '
        "true\n"
        '[[source]]\nname = "door"\nuri = "rtsp://user@10.0.0.5/s"\npassword_env = "FUZZ_SECRET"\nrotate = '
        "90\n"
        'crop = [0, 0, 10, 10]\ntransport = "tcp"\n'
        '[[source]]\nname = "attic"\nuri = "/dev/video0"\nsize = "640x480"\nrate = 15\nmirror = true\n'
        "[events]\nsmooth_s = 0.5\nenter = 0.6\nleave = 0.4\nmin_s = 0.5\ncooldown_s = 3\nunknown = false\n"
        'zone = "UTC"\n[labels.Red]\nenabled = true\nenter = 0.7\nhours = ["22:00-06:00"]\nsources = '
        '["door"]\n'
        '[[sink]]\nkind = "jsonl"\npath = "e.jsonl"\nmax_bytes = "5M"\n'
        '[[sink]]\nkind = "mqtt"\nhost = "broker"\nuser = "u"\npassword_env = "FUZZ_SECRET"\n'
        '[[sink]]\nkind = "webhook"\nurl = "https://h/x"\nsecret_env = "FUZZ_SECRET"\ntimeout_s = 5\n'
        '[[sink]]\nkind = "clips"\npath = "clips"\nlabels = ["Red"]\npre_s = 3\n'
        '[web]\nlisten = "127.0.0.1:0"\ntoken_env = "FUZZ_SECRET"\nrate_hz = 5\n[log]\nlevel = "info"\n'
    )


def hostile(rng: random.Random) -> bytes:
    """A configuration that nobody meant."""
    if rng.random() < 0.4:
        return damaged(rng, whole().encode(), WORDS)
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return "".join(_lines(changed(rng, toml.loads(whole()), 3))).encode("utf-8", "replace")


def _lines(table: dict[str, Any]) -> list[str]:
    """TOML, each value in one line."""
    return [f"{json.dumps(str(key))} = {_value(value)}\n" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if value is None:
        return "1979-05-27T07:32:00Z"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


def use(config: Config) -> None:
    """What `config check` does with a configuration."""
    shown = json.dumps(config.to_json()) + repr(config)
    merge(config, CommandLine()).check_fit(colour_bundle().manifest)
    shown += "\n".join(summary_lines(config, colour_bundle()))
    assert SECRET not in shown


def case(rng: random.Random) -> None:
    """One of them."""
    os.environ["FUZZ_SECRET"] = SECRET
    try:
        use(config_of(hostile(rng), Path("edge-har.toml")))
    except EdgeHarError as error:
        assert SECRET not in str(error)
        raise


if __name__ == "__main__":
    main("configuration", case, __doc__)
