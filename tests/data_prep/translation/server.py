"""A chat endpoint on this machine for the tests: translates by rule, and makes trouble on demand.

Run as a program it prints its port and serves until it is killed. `Server` starts it in a process
of its own and talks to it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROMPT = "{target}|{text}"  # What this endpoint understands.
MODEL = "rule"
KEY = "open sesame"

PAGE = b"<html><body>It works!</body></html>"
BODIES = {  # Replies with status 200 that are no completion.
    "html": ("text/html", PAGE),
    "page as json": ("application/json", PAGE),
    "other json": ("application/json", b'{"message": "hello"}'),
    "list": ("application/json", b"[1, 2]"),
    "no choices": ("application/json", b'{"object": "chat.completion", "choices": []}'),
    "null choices": ("application/json", b'{"choices": null}'),
    "half": ("application/json", b'{"choices": [{"message": {"content": "Wie'),
    "bytes": ("application/json", b"\xff\xfe\x00{"),
}


def translation(text: str, target: str) -> str:
    """The right translation."""
    return f"<{target}> {text.upper()}"


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """What the endpoint does.

    Attributes:
      trouble: kinds of trouble to make: statuses ("503"), rows of BODIES, "drop", "hang".
      rate: share of requests that meet trouble.
      most: of one text; 0: any number.
      seed: of what meets trouble.
      delay: seconds that a good reply takes.
      retry_after: seconds that a 429 asks to wait, if any.
      window: requests served each 0.2 seconds before a 429; 0: any number.
      good: replies before nothing but trouble is served; -1: never.
      locked: whether a key is needed.
    """

    trouble: tuple[str, ...] = ()
    rate: float = 0.0
    most: int = 0
    seed: int = 0
    delay: float = 0.0
    retry_after: float = 0.0
    window: int = 0
    good: int = -1
    locked: bool = False


class State:
    """What the endpoint was asked since it was told how to behave."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.lock = threading.Lock()
        self.behaviour = behaviour
        self.asked: collections.Counter[str] = collections.Counter()
        self.replied: collections.Counter[str] = collections.Counter()
        self.times: list[float] = []
        self.served: list[float] = []
        self.quiet_until = 0.0
        self.early = 0
        self.active = 0
        self.most_active = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = State(Behaviour())

    def log_message(self, *_):
        pass

    def do_GET(self):
        state = Handler.state
        with state.lock:
            report = {
                "asked": state.asked,
                "replied": state.replied,
                "times": state.times,
                "early": state.early,
                "most_active": state.most_active,
            }
            self.reply(200, json.dumps(report).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/behave":
            body["trouble"] = tuple(body["trouble"])
            Handler.state = State(Behaviour(**body))
            return self.reply(200, b"{}")
        state = Handler.state
        target, _, text = body["messages"][0]["content"].partition("|")
        key = f"{target}|{text}"
        with state.lock:
            state.asked[key] += 1
            now = time.monotonic()
            state.times.append(now)
            state.early += now < state.quiet_until
            trouble = self.trouble(state, key, text, now, body)
            if trouble is None:
                state.served.append(now)
            state.active += 1
            state.most_active = max(state.most_active, state.active)
        try:
            if trouble is None:
                time.sleep(state.behaviour.delay)
                with state.lock:
                    state.replied[key] += 1
                self.complete(translation(text, target))
            else:
                self.make_trouble(state, trouble, text)
        finally:
            with state.lock:
                state.active -= 1

    def trouble(self, state: State, key: str, text: str, now: float, body: dict) -> str | None:
        how = state.behaviour
        if how.locked and self.headers["authorization"] != f"Bearer {KEY}":
            return "401"
        if body["model"] != MODEL:
            return "404"
        if text.startswith("["):  # "[400] ..." says itself what becomes of it.
            return text[1 : text.index("]")]
        if how.window and sum(now - then < 0.2 for then in state.served) >= how.window:
            return "429"
        if how.good >= 0 and len(state.served) >= how.good:
            return how.trouble[0]
        if how.most and state.asked[key] > how.most:
            return None
        rng = random.Random(f"{how.seed}/{key}/{state.asked[key]}")
        return rng.choice(how.trouble) if rng.random() < how.rate else None

    def make_trouble(self, state: State, trouble: str, text: str) -> None:
        if trouble == "drop":
            self.close_connection = True
        elif trouble == "hang":
            time.sleep(3)
            self.close_connection = True
        elif trouble == "empty":
            self.complete("  ")
        elif trouble == "length":
            self.complete(text[:3], finish="length")
        elif trouble in BODIES:
            kind, content = BODIES[trouble]
            self.reply(200, content, kind=kind)
        else:
            headers = {}
            wait = state.behaviour.retry_after
            if trouble == "429" and wait:
                headers["Retry-After"] = str(wait)
                with state.lock:
                    state.quiet_until = time.monotonic() + wait
            error = {"error": {"message": f"no, {trouble}", "code": None}}
            if trouble == "429 quota":
                error["error"]["code"] = "insufficient_quota"
            self.reply(int(trouble[:3]), json.dumps(error).encode(), headers=headers)

    def complete(self, text: str, finish: str = "stop") -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL}
        self.reply(200, json.dumps(reply | {"choices": [choice]}).encode())

    def reply(self, status, content, *, kind="application/json", headers=None):
        # The reader may have been killed, which is no trouble of ours.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


class Server:
    """The endpoint in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdout=subprocess.PIPE, text=True
        )
        self.address = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.base_url = f"{self.address}/v1"

    def behave(self, **behaviour) -> None:
        """Changes what it does, and forgets what it was asked."""
        data = json.dumps(dataclasses.asdict(Behaviour(**behaviour))).encode()
        urllib.request.urlopen(f"{self.address}/behave", data, timeout=30).close()

    def report(self) -> dict:
        """What it was asked since."""
        with urllib.request.urlopen(self.address, timeout=30) as reply:
            return json.load(reply)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
