"""Logging in over HTTP: what servers offer is read, and the strongest way that is known is taken."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest

from edge_har.system.http_login import HttpLogin, parse_challenges, request_target
from tests.helpers.http_auth import LoginGate, answers, digest


@pytest.mark.parametrize(
    ("headers", "schemes"),
    [
        (["Negotiate"], ["negotiate"]),
        (['Negotiate, Basic realm="x"'], ["negotiate", "basic"]),
        (
            ["Negotiate oYG2MIGz==, Bearer", 'Digest realm="a, Basic b", nonce=x'],
            ["negotiate", "bearer", "digest"],
        ),
        (['Basic realm="a\\"b", charset="UTF-8",Digest nonce = "q" , qop=auth'], ["basic", "digest"]),
        (["", ",,", "="], []),
    ],
)
def test_challenges_are_read_however_they_are_sent(headers: list[str], schemes: list[str]) -> None:
    assert [challenge.scheme for challenge in parse_challenges(headers)] == schemes


def test_quotes_and_commas_belong_to_their_value() -> None:
    challenge = parse_challenges(['Digest realm="a \\"b\\", c", nonce = "n=1,x", QOP="auth, auth-int"'])[0]
    assert challenge.parameters == {"realm": 'a "b", c', "nonce": "n=1,x", "qop": "auth, auth-int"}


def test_any_header_is_survived() -> None:
    rng = random.Random(1)
    words = [
        "Digest ",
        "Basic",
        "nonce=",
        '"',
        "\\",
        ",",
        "=",
        "realm",
        " ",
        "\xff",
        "algorithm=SHA-256",
        "qop=x",
    ]
    for _ in range(2000):
        header = "".join(rng.choice(words) for _ in range(rng.randrange(12)))
        login = HttpLogin("me", "pä")
        while login.refused([header]):
            assert "\n" not in (login.authorization("GET", "/") or "")


def test_the_example_of_rfc_2617(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "0a4f113b")
    login = HttpLogin("Mufasa", "Circle Of Life")
    head = 'Digest realm="testrealm@host.com", qop="auth,auth-int", '
    assert login.refused([f'{head}nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc"'])
    given = login.authorization("GET", "/dir/index.html")
    assert given is not None and 'response="6629fae49393a05397450978507c4ef1"' in given


BASIC, MD5, SHA, LONG = 'Basic realm="x"', digest("MD5"), digest("SHA-256"), digest("SHA-512-256")


@pytest.mark.parametrize(
    ("challenges", "wanted"),
    [
        ([BASIC], "Basic"),
        ([digest(None)], "Digest"),
        ([digest(None, qop=None)], "Digest"),
        ([SHA], "Digest,SHA-256"),
        ([digest("MD5-sess")], "Digest,MD5-sess"),
        ([digest("SHA-256-sess", qop="auth-int")], "Digest,SHA-256-sess"),
        ([digest("SHA-256", more=", userhash=true")], "Digest,SHA-256"),
        ([MD5, SHA, BASIC], "Digest,SHA-256"),
        ([BASIC, LONG, SHA, MD5], "Digest,SHA-512-256"),
        ([f"{BASIC}, {MD5}, {SHA}"], "Digest,SHA-256"),
        (["Negotiate", "Bearer", BASIC], "Basic"),
        ([f"Bearer, Negotiate abc=, {MD5}"], "Digest,MD5"),
        ([digest("WHIRLPOOL"), digest("SHA-256", qop="other"), BASIC], "Basic"),
    ],
)
def test_the_strongest_known_way_is_taken(challenges: Sequence[str], wanted: str) -> None:
    gate, login = LoginGate(challenges, wanted), HttpLogin("me", "s3cret")
    assert ask(gate, login) and len(gate.given) == 2
    assert ask(gate, login) and len(gate.given) == 3  # logged in with the first request


def ask(gate: LoginGate, login: HttpLogin, body: bytes = b"") -> bool:
    """Whether a request passes in the end."""
    while challenges := gate("POST", "/x?a=b", login.authorization("POST", "/x?a=b", body), body):
        if not login.refused(challenges):
            return False
    login.accepted()
    return True


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
def test_letters_beyond_ascii_are_sent_as_the_server_has_them(scheme: str, charset: str) -> None:
    user, password = "jürgen", "pässwörd"
    challenges = [BASIC if scheme == "Basic" else SHA]
    gate = LoginGate(challenges, scheme, user=user.encode(charset), password=password.encode(charset))
    assert ask(gate, HttpLogin(user, password))
    assert ask(gate, HttpLogin(user, password, unasked=True))


def test_letters_beyond_latin_1_and_a_stated_charset_are_utf_8() -> None:
    for password, more in (("пароль", ""), ("pä", ", charset=UTF-8")):
        gate = LoginGate([digest("SHA-256", more=more)], "Digest", password=password.encode())
        assert ask(gate, HttpLogin("me", password)) and not ask(gate, HttpLogin("me", "ä"))


@pytest.mark.parametrize("challenge", [BASIC, SHA, digest("MD5"), digest("SHA-256", more=", charset=UTF-8")])
def test_bytes_that_are_no_utf_8_are_sent_as_they_are(challenge: str) -> None:
    gate = LoginGate([challenge], challenge.partition(" ")[0], user=b"m\xe9", password=b"p\xff:\xc3\xa9")
    user, password = os.fsdecode(b"m\xe9"), os.fsdecode(b"p\xff:\xc3\xa9")
    assert ask(gate, HttpLogin(user, password)) and ask(gate, HttpLogin(user, password, unasked=True))


def test_a_nonce_that_ran_out_is_renewed() -> None:
    gate, login = LoginGate([digest("SHA-256-sess")], "Digest", uses=3), HttpLogin("me", "s3cret")
    assert all(ask(gate, login) for _ in range(10))
    assert len(gate.given) == 10 + 4  # one refusal for each nonce


@pytest.mark.parametrize("challenge", [BASIC, MD5, digest("MD5", more=", stale=true")])
def test_a_wrong_password_is_not_tried_for_ever(challenge: str) -> None:
    gate, login = LoginGate([challenge], challenge.split()[0]), HttpLogin("me", "wrong")
    assert not ask(gate, login) and len(gate.given) <= 5
    before = len(gate.given)
    assert not ask(gate, HttpLogin("me", "wrong", unasked=True)) and len(gate.given) - before <= 5


def test_a_password_sent_unasked_is_not_sent_twice() -> None:
    gate = LoginGate([BASIC], "Basic")
    assert not ask(gate, HttpLogin("me", "wrong", unasked=True)) and len(gate.given) == 1


def test_the_reference_refuses_what_is_wrong() -> None:
    login = HttpLogin("me", "s3cret")
    assert login.refused([SHA])
    given = login.authorization("GET", "/x")
    assert given is not None and answers(given, "GET", "/x", b"me", b"s3cret")
    assert not answers(given, "POST", "/x", b"me", b"s3cret") and not answers(given, "GET", "/x", b"me", b"s")


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("", "", "/"),
        ("/my cam/größe", "a=b c&d=ü", "/my%20cam/gr%C3%B6%C3%9Fe?a=b%20c&d=%C3%BC"),
        ("/a%20b;x", "q=%2F", "/a%20b;x?q=%2F"),
    ],
)
def test_a_request_line_is_ascii(path: str, query: str, target: str) -> None:
    assert request_target(path, query) == target
