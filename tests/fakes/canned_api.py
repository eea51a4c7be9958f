"""A small HTTP server that answers from a table, for tests of programs that ask the REST API."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class CannedApi:
    """Answers by ``METHOD /path?query`` first, then by ``METHOD /path``; anything else is 404."""

    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[object] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    content_type: str = "application/json"
    url: str = ""

    def find(self, method: str, target: str) -> tuple[int, object]:
        problem = {"title": "Not Found", "status": 404, "detail": f"nothing is at {target}"}
        whole = self.answers.get(f"{method} {target}")
        return whole or self.answers.get(f"{method} {target.partition('?')[0]}") or (404, problem)


@contextlib.contextmanager
def run() -> Iterator[CannedApi]:
    api = CannedApi()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length:
                api.bodies.append(json.loads(self.rfile.read(length)))
            api.asked.append(f"{self.command} {self.path}")
            api.tokens.append(self.headers.get("Authorization"))
            status, document = api.find(self.command, self.path)
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", api.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def do_DELETE(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
