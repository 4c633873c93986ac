"""An OpenAI-compatible endpoint of our own on loopback that looks at the pictures it gets, and misbehaves on demand.

Clip number n is shown as frames of one colour that says n. So the endpoint knows from the pictures alone which clips it
is asked about, answers accordingly, and notices when captions and pictures do not belong together.
"""

import base64
import http.server
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import cv2
import numpy as np

from icve.data.pairs.base import TYPES

TOKENS = {"prompt_tokens": 1000, "completion_tokens": 50}


def clip(number: int, frames: int = 9, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Frames whose colour says the clip's number (below 256), and whose blue the frame's (below 16)."""
    red, green = 16 * (number % 16) + 8, 16 * (number // 16) + 8
    return [np.full((*size, 3), (red, green, 16 * frame + 8), np.uint8) for frame in range(frames)]


def caption(number: int) -> str:
    """What the endpoint says that a clip shows."""
    return f"Thing {number} stands on a table."


def edit(source: int, target: int) -> dict[str, str]:
    """What the endpoint says turns one clip into the other."""
    return {"instruction": f"Turn thing {source} into thing {target}.", "type": TYPES[(source + target) % len(TYPES)]}


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        clips: numbers of the clips it shows: one, two, or none where it is about words only.
        times: how often the same was asked before.
        frames: numbers of the frames that it shows of each clip.
        sizes: (width, height) of the pictures.
    """

    body: dict[str, Any]
    headers: dict[str, str]
    clips: tuple[int, ...]
    frames: tuple[tuple[int, ...], ...]
    sizes: set[tuple[int, int]]
    texts: list[str]
    times: int
    when: float

    @property
    def right(self) -> dict[str, str]:
        """The right answer about clips."""
        return {"description": caption(*self.clips)} if len(self.clips) == 1 else edit(*self.clips)

    @property
    def format(self) -> str:
        """The response format that is asked for."""
        return str(self.body.get("response_format", {}).get("type", ""))


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        endpoint = self.server.endpoint
        asked = endpoint.note(self.path, dict(self.headers), json.loads(body))
        if endpoint.delay:
            time.sleep(endpoint.delay)
        with suppress(BrokenPipeError, ConnectionResetError):
            endpoint.act(asked)(self, asked)
        with endpoint.lock:
            endpoint.under_way -= 1

    def send(self, status: int, data: bytes, headers: dict[str, str] | None = None, reason: str | None = None) -> None:
        """A whole response."""
        self.send_response(status, reason)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def leave(self) -> None:
        """Closes the connection without another word."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Nothing: a test looks at what is printed."""


Act = Callable[[Handler, Asked], None]


def completion(content: Any, **choice: Any) -> bytes:
    """A chat completion."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"} | choice]
    return json.dumps({"object": "chat.completion", "choices": choices, "usage": TOKENS}).encode()


def good(handler: Handler, asked: Asked) -> None:
    """The right answer."""
    handler.server.endpoint.answered[asked.clips] += 1
    handler.send(200, completion(json.dumps(asked.right)))


def says(content: Any, **choice: Any) -> Act:
    """A reply with this content."""
    return lambda handler, _: handler.send(200, completion(content, **choice))


def status(number: int, **headers: str) -> Act:
    """An error; headers as in `sends`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.send(number, b'{"error": {"message": "no"}}', named)


def sends(data: bytes, number: int = 200, **headers: str) -> Act:
    """Any body; `_` in a header's name stands for `-`."""
    return lambda handler, _: handler.send(
        number, data, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def hang(handler: Handler, _: Asked) -> None:
    """Nothing, until the endpoint is closed."""
    handler.server.endpoint.closing.wait()
    handler.leave()


def drip(handler: Handler, _: Asked) -> None:
    """A byte now and then, so that something always comes but it never ends."""
    handler.send(200, b"", {"Content-Length": "1000000"})
    while not handler.server.endpoint.closing.wait(0.05):
        handler.wfile.write(b" ")


def drop(handler: Handler, _: Asked) -> None:
    """Closes the connection instead of answering."""
    handler.leave()


def cut(handler: Handler, asked: Asked) -> None:
    """Closes the connection amid the answer."""
    data = completion(json.dumps(asked.right))
    handler.send(200, data[: len(data) // 2], {"Content-Length": str(len(data))})
    handler.leave()


def endless(handler: Handler, _: Asked) -> None:
    """A body without an end."""
    handler.send(200, b'{"choices": "', {"Content-Length": str(1 << 40)})
    while not handler.server.endpoint.closing.is_set():
        handler.wfile.write(b"x" * (1 << 20))
        handler.server.endpoint.megabytes += 1


def not_http(handler: Handler, _: Asked) -> None:
    """Something else than HTTP."""
    handler.wfile.write(b"\x00\x01 I speak another protocol\r\n\r\n")
    handler.leave()


class Server(http.server.ThreadingHTTPServer):
    """Carries the endpoint to the handlers."""

    daemon_threads = True
    request_queue_size = 128
    endpoint: "Endpoint"


@dataclass
class Endpoint:
    """The endpoint; a context manager.

    Attributes:
        act: what it does about a request.
        delay: seconds before it does.
        asked: all requests so far.
        answered: how often each question got the right answer.
        mistakes: what was wrong with requests.
        under_way, most_under_way: requests at a time, now and at most.
        megabytes: sent in endless bodies.
    """

    act: Callable[[Asked], Act] = lambda _: good
    delay: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    answered: Counter[tuple[int, ...]] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    megabytes: int = 0

    def __enter__(self) -> Self:
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.endpoint = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        assert not self.mistakes, self.mistakes[0]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    def note(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Asked:
        """Writes a request down, and what is wrong with it."""
        when = time.monotonic()
        (message,) = body["messages"]
        texts = [part["text"] for part in message["content"] if part["type"] == "text"]
        urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
        shown: dict[int, list[int]] = {}
        sizes = set()
        for url in urls:
            prefix, data = url.split(",")
            image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
            red, green, blue = (int(value) // 16 for value in image.mean((0, 1)))
            shown.setdefault(green * 16 + red, []).append(blue)
            sizes.add((image.shape[1], image.shape[0]))
            if prefix != "data:image/jpeg;base64":
                self.mistakes.append(f"a picture begins with {prefix}")
        clips = tuple(shown)
        captions = [text.partition(": ")[2] for text in texts[1:]]
        with self.lock:
            if path != "/v1/chat/completions":
                self.mistakes.append(f"asked at {path}")
            if len(clips) == 2 and captions != [caption(number) for number in clips]:
                self.mistakes.append(f"clips {clips} came with {captions}")
            times = sum((asked.clips, asked.texts) == (clips, texts) for asked in self.asked)
            asked = Asked(body, headers, clips, tuple(map(tuple, shown.values())), sizes, texts, times, when)
            self.asked.append(asked)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        return asked

    def count(self) -> Counter[tuple[int, ...]]:
        """How often each question was asked."""
        return Counter(asked.clips for asked in self.asked)
