"""No message shows the value of a secret, not even of one with the wrong type or of one that cannot be
read.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_har.config.file import config_of
from edge_har.errors import EdgeHarError, MisuseError
from edge_har.options.secrets import look_up
from edge_har.sinks import options_of_text

SECRET = "98765432101234"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"[[source]]\nuri = {SECRET}", "source[1].uri"),
        (f"[[source]]\nuri = '0'\npassword = {SECRET}", "source[1].password"),
        (f"[[sink]]\nkind = 'webhook'\nurl = {SECRET}", "sink[1].url"),
        (f'[[sink]]\nkind = "webhook"\nurl = "https://h/{SECRET}\\u0000"', "sink[1].url"),
        (f"[[sink]]\nkind = 'webhook'\nurl = 'https://h/'\ntoken = {SECRET}", "sink[1].token"),
        (f"[[sink]]\nkind = 'mqtt'\nhost = 'h'\npassword = {SECRET}", "sink[1].password"),
        (f"[web]\ntoken = {SECRET}", "web.token"),
    ],
)
def test_a_problem_of_a_secret_names_its_key_and_not_its_value(text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeHarError) as caught:
        config_of(text.encode(), tmp_path / "c.toml")
    (problem,) = str(caught.value).splitlines()
    assert f"{key}:" in problem and SECRET not in problem


@pytest.mark.parametrize(
    "text",
    [
        f"mqtt://h?port=my-{SECRET}",
        f"mqtt://h?keepalive_s={SECRET}",
        f"https://h/#timeout_s={SECRET}x",
        f"https://h/#secret={SECRET}",
        f"https://h/{SECRET}#name=a/b",
    ],
)
def test_a_problem_of_a_sink_on_the_command_line_shows_no_value(text: str) -> None:
    with pytest.raises(MisuseError) as caught:
        options_of_text(text)
    assert SECRET not in str(caught.value)


def test_a_secret_in_a_file_that_others_may_read_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o644)
    with pytest.raises(MisuseError, match=r"token_file: .*chmod 600") as caught:
        look_up("token_file", str(path))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "location"),
    [
        ("password_env", f"{SECRET}!"),
        ("url_env", f"https://me:{SECRET}@h/"),
        ("url_file", f"https://me:{SECRET}@h/"),
    ],
)
def test_a_secret_in_place_of_where_it_stands_is_not_shown(key: str, location: str) -> None:
    with pytest.raises(MisuseError, match=f"{key}: ") as caught:
        look_up(key, location)
    assert SECRET not in str(caught.value)
