"""Servers that are not there, refuse, stay silent or are not who they seem: real sockets, a real broker."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_har.config.file import Config, config_of
from edge_har.doctor import network
from edge_har.doctor.finding import Level
from tests.helpers.broker import PASSWORD, USER, Broker, Listener, free_port
from tests.helpers.certificates import self_signed
from tests.helpers.doctor import found, machine, only
from tests.helpers.hooks import HookServer


def settings(text: str, folder: Path) -> Config:
    return config_of(text.encode(), folder / "e.toml")


def webhook(url: str, more: str = "") -> str:
    return f'[[sink]]\nkind = "webhook"\nurl = "{url}"\n{more}\n'


def mqtt(port: int, more: str = "") -> str:
    return f'[[sink]]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {port}\n{more}\n'


def problem(text: str, folder: Path) -> tuple[str, str]:
    return only(network.check_network(machine(folder), settings(text, folder)), Level.PROBLEM)


def levels(text: str, folder: Path) -> list[Level]:
    return [level for level, *_ in found(network.check_network(machine(folder), settings(text, folder)))]


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_nothing_to_call(tmp_path: Path) -> None:
    assert [level for level, *_ in found(network.check_network(machine(tmp_path), None))] == [Level.NOTE]


def test_a_webhook_that_is_there_gets_no_post(tmp_path: Path) -> None:
    with HookServer() as server:
        assert levels(webhook(server.url), tmp_path) == [Level.OK]
        assert server.posts == []


@pytest.mark.parametrize(
    ("url", "text", "advice"),
    [
        ("http://127.0.0.1:{port}/x", "nothing listens there", "correct the port"),
        ("http://no-such-host.invalid/x", "its name is not known", "IP address"),
    ],
)
def test_a_webhook_that_is_not_there(tmp_path: Path, url: str, text: str, advice: str) -> None:
    shown, what = problem(webhook(url.format(port=free_port())), tmp_path)
    assert text in shown and advice in what


def test_certificates(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    with HookServer(certificate, key) as server:
        text, advice = problem(webhook(server.url), tmp_path)
        assert "its certificate is not trusted" in text and "ca_file" in advice and "clock" in advice
        assert levels(webhook(server.url, f'ca_file = "{certificate}"'), tmp_path) == [Level.OK]
    with HookServer() as server:  # which speaks no TLS
        text, advice = problem(webhook(server.url.replace("http:", "https:")), tmp_path)
        assert "tls: wrong version number" in text and "may not be encrypted" in advice


def test_no_password_of_an_address_is_shown(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(f"http://user:hunter2@127.0.0.1:{free_port()}/key-in-the-path\n")
    secret.chmod(0o600)
    text, advice = problem(f'[[sink]]\nkind = "webhook"\nurl_file = "{secret}"\n', tmp_path)
    assert "hunter2" not in text + advice and "key-in-the-path" not in text + advice


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_camera_on_the_network(tmp_path: Path, scheme: str) -> None:
    with silent_server() as port:
        assert levels(f'[[source]]\nname = "door"\nuri = "{scheme}://127.0.0.1:{port}/"\n', tmp_path) == [
            Level.OK
        ]
    text, _ = problem(f'[[source]]\nname = "door"\nuri = "{scheme}://127.0.0.1:{free_port()}/"\n', tmp_path)
    assert text.startswith("source door: 127.0.0.1:") and text.endswith("nothing listens there")


def test_a_broker_that_is_not_there_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, _ = problem(mqtt(free_port()), tmp_path)
    assert text.endswith("nothing listens there")
    monkeypatch.setattr(network, "CONNECT_S", 0.3)
    with silent_server() as port:
        text, advice = problem(mqtt(port), tmp_path)
    assert "does not answer as a broker does" in text and "1883" in advice


def test_a_broker_that_takes_the_login_or_refuses_it(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("not it\n")
    for path in (password, wrong):
        path.chmod(0o600)
    with Broker(tmp_path / "broker", password=True) as broker:
        listener = Listener(broker)
        login = f'user = "{USER}"\npassword_file = "{{}}"'
        assert levels(mqtt(broker.port, login.format(password)), tmp_path) == [Level.OK]
        text, advice = problem(mqtt(broker.port, login.format(wrong)), tmp_path)
        assert "it refuses the login" in text and "correct user and password" in advice
        assert listener.heard == []  # nothing was published
        listener.close()
