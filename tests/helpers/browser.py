"""A real browser without a screen: Chromium, led over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tests.helpers.need import need_module, need_program

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT_S = 60.0  # for anything, on a busy machine
PORT_FILE = "DevToolsActivePort"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--remote-debugging-port=0",
)
NAVIGATED = ("navigated or closed", "context was destroyed", "Cannot find default execution context")
UNTIL = """new Promise((done, fail) => {{
  const began = performance.now();
  const look = () => {{
    let value;
    try {{ value = {condition}; }} catch (error) {{ value = null; }}
    if (value) done(value);
    else if (performance.now() - began > {limit_ms}) fail(new Error("never: " + {text}));
    else setTimeout(look, 30);
  }};
  look();
}})"""


class NavigatedError(AssertionError):
    """The page went elsewhere while a command was under way."""


class Browser:
    """One page of a Chromium of its own; a context manager.

    requests: addresses that the page requested. errors: what its console reported as wrong.
    """

    def __init__(self) -> None:
        need_module("tornado", "pip install -e '.[test]'")
        self._program = need_program("chromium")
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        self.requests: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        self._process = subprocess.Popen(
            [self._program, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + WAIT_S
        port = folder / PORT_FILE
        while not (port.is_file() and port.read_text().count("\n") >= 1):
            assert self._process.poll() is None and time.monotonic() < deadline_s, "Chromium did not start"
            time.sleep(0.05)
        self._loop.run_until_complete(self._connect(port.read_text().splitlines()[0]))
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        self._folder.cleanup()

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), 2 * WAIT_S))

    def look(self, *, width: int, height: int, dark: bool = False, still: bool = False) -> None:
        """How large the window is, and what its user prefers."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        self.call(
            "Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()]
        )

    def open(self, url: str) -> None:
        """Go to an address, and forget what the page before requested."""
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank'")
        self.requests.clear()
        self.errors.clear()
        self.call("Page.navigate", url=url)
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]["exception"].get("description")
        return result["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait until a JavaScript expression is true, in this page or one that follows it; its value."""
        looking = UNTIL.format(condition=condition, limit_ms=int(1000 * WAIT_S), text=json.dumps(condition))
        deadline_s = time.monotonic() + WAIT_S
        while True:
            try:
                return self.run(looking)
            except NavigatedError:
                assert time.monotonic() < deadline_s, f"never: {condition}"

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """What the window shows, as PNG; whole: the page beyond the window too."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    async def _connect(self, port: str) -> None:
        from tornado.httpclient import AsyncHTTPClient
        from tornado.websocket import websocket_connect

        listed = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
        page = next(target for target in json.loads(listed.body) if target["type"] == "page")
        self._socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=64 * 2**20)

    async def _call(self, method: str, parameters: dict[str, object]) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            text = await self._socket.read_message()
            assert text is not None, "Chromium has gone"
            message = json.loads(text)
            if message.get("id") == number:
                error = message.get("error", {}).get("message", "")
                if any(sign in error for sign in NAVIGATED):
                    raise NavigatedError(error)
                assert not error, f"{method}: {error}"
                return dict(message["result"])
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, method: str, facts: dict[str, Any]) -> None:
        if method in ("Network.requestWillBeSent",):
            self.requests.append(facts["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(facts["url"])
        elif method == "Runtime.exceptionThrown":
            details = facts["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.errors.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")
