"""Who may look."""

from __future__ import annotations

import base64

import pytest

from edge_har.web.auth import RequestAuth

TOKEN = "0123456789abcdef"
HERE = "192.0.2.7"


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("127.0.0.1", True),
        ("localhost:8080", True),
        ("LocalHost", True),
        ("[::1]:8080", True),
        ("evil.example:8080", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.168.1.5:8080", False),
        ("[::2]", False),
        ("::1", False),
        ("", False),
        ("localhost:8080@evil.example", False),
    ],
)
def test_without_a_token_only_names_of_this_machine_lead_here(host: str, allowed: bool) -> None:
    assert RequestAuth(None).host_allowed(host) is allowed
    assert RequestAuth(TOKEN).host_allowed(host)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, False),
        ({"Authorization": f"Bearer {TOKEN}"}, True),
        ({"Authorization": f"bearer  {TOKEN} "}, True),
        ({"Authorization": f"Bearer {TOKEN}x"}, False),
        ({"Authorization": "Bearer"}, False),
        ({"Authorization": "Bearer ümläut"}, False),
        ({"Authorization": TOKEN}, False),
        ({"Authorization": f"Digest {TOKEN}"}, False),
        (basic(f"anybody:{TOKEN}"), True),
        (basic(f":{TOKEN}"), True),
        (basic(TOKEN), False),
        (basic(f"{TOKEN}:"), False),
        ({"Authorization": "Basic ???"}, False),
        ({"Authorization": "Basic /w=="}, False),
    ],
)
def test_a_token_opens_as_bearer_or_password(headers: dict[str, str], known: bool) -> None:
    assert RequestAuth(TOKEN).known(headers, None, HERE) is known
    assert RequestAuth(None).known(headers, None, HERE)


def test_the_cookie_opens_and_does_not_hold_the_token() -> None:
    access = RequestAuth(TOKEN)
    assert TOKEN not in access.cookie and len(access.cookie) == 64
    assert access.known({}, access.cookie, HERE)
    assert not access.known({}, RequestAuth(TOKEN + "x").cookie, HERE)
    assert access.cookie_name != RequestAuth(TOKEN + "x").cookie_name and "=" not in access.cookie_name
    assert not access.known({}, TOKEN, HERE) and not access.known({}, "", HERE)


@pytest.mark.parametrize(
    ("site", "allowed"),
    [(None, True), ("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False)],
)
def test_other_sites_may_embed_nothing(site: str | None, allowed: bool) -> None:
    assert RequestAuth(None).site_allowed({} if site is None else {"Sec-Fetch-Site": site}) is allowed
