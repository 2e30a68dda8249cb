"""A headless Chromium that a test can type into: the DevTools protocol over two pipes.

Nothing but the browser itself is needed: with ``--remote-debugging-pipe`` it reads commands from
file descriptor 3 and writes answers and events to 4, each a JSON text that a zero byte ends.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

KEYS = {  # key: (code, virtual key, text)
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    " ": ("Space", 32, " "),
    "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
}
PATIENCE = 60.0  # seconds for one answer


class Browser:
    """One page in one browser.

    Attributes:
        problems: what the page wrote to the console as a warning or an error, uncaught errors, and
            what its policy refused.
        requests: every address that it asked for.
    """

    def __init__(self, chromium: str, folder: Path, *flags: str) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._buffer, self._number = b"", 0
        commands, self._write = os.pipe()
        self._read, events = os.pipe()

        def wire() -> None:
            """In the child: 3 is what it reads, 4 what it writes."""
            first, second = os.dup(commands), os.dup(events)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self._process = subprocess.Popen(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
                *flags, "about:blank",
            ],
            preexec_fn=wire, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(events)
        self._session = ""
        target = self._page()
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def _page(self) -> str:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for target in self.ask("Target.getTargets")["targetInfos"]:
                if target["type"] == "page":
                    return str(target["targetId"])
            time.sleep(0.05)
        raise TimeoutError("Chromium opened no page")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        try:
            self.ask("Browser.close")
            self._process.wait(10)
        except (RuntimeError, TimeoutError, subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], PATIENCE)[0]:
                raise TimeoutError("Chromium does not answer")
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise RuntimeError("Chromium has gone")
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, found: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(found["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning"):
            self.problems.append(str([a.get("value") for a in found["args"]]))
        elif method == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.problems.append(found["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])

    def open(self, file: Path, width: int = 1280, height: int = 900) -> None:
        """Open a file at a size, and wait until its script is through."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.ask("Page.navigate", url=file.as_uri())
        end = time.monotonic() + PATIENCE
        while self.run("document.documentElement?.dataset.ready") != "yes":
            if time.monotonic() > end:
                raise TimeoutError(f"{file.name} was not drawn; {self.problems}")
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression on the page."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, *keys: str, shift: bool = False) -> None:
        """Press keys, one after the other; a key may also be one letter."""
        for key in keys:
            code, number, text = KEYS.get(key, (key, ord(key[0].upper()), key))
            event = {
                "key": key, "code": code, "windowsVirtualKeyCode": number,
                "modifiers": 8 if shift else 0,
            }  # fmt: skip
            self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **event)

    def screenshot(self, file: Path, whole: bool = True, clip: dict | None = None) -> Path:
        """The page as a PNG: all of it, or what is on the screen."""
        more = {} if clip is None else {"clip": {**clip, "scale": 1}}
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **more)["data"]
        file.write_bytes(base64.b64decode(data))
        return file

    def printed(self, file: Path) -> Path:
        """The page as a PDF, as Print makes it."""
        data = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]
        file.write_bytes(base64.b64decode(data))
        return file
