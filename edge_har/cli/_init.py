"""The questions of `edge-har config init`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from edge_har.errors import EdgeHarError, MisuseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_har.config.draft import Draft
    from edge_har.sources.machine import MachineCamera

T = TypeVar("T")
DEMO = "synthetic:demo"
PAGE_CHOICES = {"none": None, "here": "127.0.0.1:8080", "network": "0.0.0.0:8080"}


def fill_from_questions(draft: Draft) -> None:
    """Fill a draft from questions on the terminal; a reply that cannot be used is a line, and the question
    comes again.
    """
    from edge_har.sources.machine import cameras_of_this_machine

    cameras = cameras_of_this_machine()
    for number, camera in enumerate(cameras, 1):
        click.echo(
            f"  {number}  {camera.source}  {camera.name}" + f"  ({camera.problem})" * bool(camera.problem)
        )
    if not cameras:
        click.echo("  no camera on this machine; rtsp://, http://, files and synthetic:demo need none")
    more = True
    while more:
        _repeat(lambda: _source(draft, cameras))
        more = click.confirm("Another source?", default=False)
    _repeat(lambda: _broker(draft))
    _repeat(lambda: _webhook(draft))
    _repeat(lambda: _page(draft))


def _repeat(question: Callable[[], T]) -> T:
    while True:
        try:
            return question()
        except MisuseError as error:
            click.echo(f"  {error}")


def _source(draft: Draft, cameras: list[MachineCamera]) -> None:
    default = cameras[0].source if cameras else DEMO
    text = click.prompt("Source: a number of the list, or an address (docs/sources.md)", default=default)
    if text.isdecimal() and 1 <= int(text) <= len(cameras):
        text = cameras[int(text) - 1].source
    default = "camera" if not draft.sources else f"camera{len(draft.sources) + 1}"
    name = click.prompt("Its name in events", default=default)
    password = None
    if _names_user_without_password(text):
        password = _hidden("Password of that user (empty: none)")
    draft.add_source(f"{name}={text}", password)


def _names_user_without_password(text: str) -> bool:
    from edge_har.options.addresses import parse_url

    try:
        user, password = parse_url(text).credentials
    except ValueError:
        return False
    return bool(user) and password is None


def _broker(draft: Draft) -> None:
    host = click.prompt("MQTT broker, as that of Home Assistant: host name (empty: none)", default="")
    if not host or not _installed("mqtt"):
        return
    user = click.prompt("User at the broker (empty: none)", default="")
    password = _hidden("Password of that user (empty: none)") if user else None
    draft.add_sink(f"mqtt://{user}@{host}" if user else f"mqtt://{host}", password)


def _webhook(draft: Draft) -> None:
    url = click.prompt("Web address that gets a POST for each event (empty: none)", default="")
    if url:
        draft.add_sink(url)


def _page(draft: Draft) -> None:
    chosen = click.prompt(
        "Live page in the browser: none, here (this machine alone) or network (with a token)",
        type=click.Choice(list(PAGE_CHOICES)),
        default="none",
        show_choices=False,
    )
    listen = PAGE_CHOICES[chosen]
    if listen is not None and _installed("web"):
        draft.set_web(listen)


def _installed(what: str) -> bool:
    """Whether what is chosen can run here; else a line says what to install, and it is left out."""
    from edge_har.sinks import options_of_text
    from edge_har.web import check_installed

    try:
        if what == "web":
            check_installed()
        else:
            options_of_text("mqtt://host").check_installed()
    except EdgeHarError as error:
        click.echo(f"  left out: {error}; then run this again")
        return False
    return True


def _hidden(text: str) -> str:
    return str(click.prompt(text, default="", hide_input=True, show_default=False))
