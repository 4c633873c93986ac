"""A headless Chromium, driven through the pipe of its DevTools protocol: no package is needed."""

import json
import os
import selectors
import shutil
import subprocess
import time
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 60


class Page:
    """A context manager: one page, and everything that it asked for, logged or threw.

    Attributes:
        requests: addresses, those of data: aside.
        problems: errors and warnings of the console, exceptions, dialogs.
    """

    def __init__(self, profile: Path) -> None:
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.number, self.session, self.buffer = 0, "", b""
        # Chromium reads from descriptor 3 and writes to 4; those of others are moved out of the way.
        theirs_in, self.to, self.source, theirs_out = (fcntl(end, F_DUPFD, 10) for end in (*os.pipe(), *os.pipe()))
        options = f"--headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir='{profile}'"
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {CHROMIUM} {options} about:blank 3<&{theirs_in} 4>&{theirs_out}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.ready = selectors.DefaultSelector()
        self.ready.register(self.source, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.ready.close()
        os.close(self.to)
        os.close(self.source)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command, and returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            if not self.ready.select(deadline - time.monotonic()):
                raise TimeoutError("Chromium does not answer")
            part = os.read(self.source, 2**20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith("data:"):
                self.requests.append(address)
        elif event in ("Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"):
            self.problems.append(f"{event}: {params}")
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(f"{event}: {params['args']}")

    def open(self, address: str) -> None:
        """Goes to an address, and waits until the page is complete."""
        self.send("Page.navigate", url=address)
        deadline = time.monotonic() + SECONDS
        while self.run("document.readyState + location.href") != f"complete{address}":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{address} is not complete")
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")
