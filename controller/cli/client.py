"""The public REST API as the command line uses it: standard library only, one request at a time.

Every failure becomes one line for people and an exit code: 1 for an answer that says no, 3 when nobody answers.
"""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from http.client import HTTPConnection

TIMEOUT_SECONDS = 15.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024
PAGE_ITEMS = 1000
EXIT_REFUSED = 1
EXIT_NOT_REACHABLE = 3

Item = Mapping[str, Any]
"""One JSON object of the API: shown as it is, never interpreted beyond the fields that are printed."""


class RefusedError(click.ClickException):
    """The API answered, and the answer is no."""

    exit_code = EXIT_REFUSED

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class NotReachableError(click.ClickException):
    exit_code = EXIT_NOT_REACHABLE


@dataclass(frozen=True, slots=True)
class Api:
    """One controller, by its address."""

    url: str
    token: str | None = None

    def get(self, path: str, **query: str | int | None) -> Item:
        """Return the answer to a question; raises RefusedError, NotReachableError."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._demand("GET", f"{path}?{urllib.parse.urlencode(given)}" if given else path)

    def post(self, path: str, body: object = None) -> Item:
        return self._demand("POST", path, body)

    def put(self, path: str, body: object) -> Item:
        return self._demand("PUT", path, body)

    def delete(self, path: str) -> Item:
        return self._demand("DELETE", path)

    def items(self, path: str, **query: str | int | None) -> list[Item]:
        """Return a whole list, page after page."""
        found: list[Item] = []
        cursor: str | None = None
        while True:
            page = self.get(path, **query, limit=PAGE_ITEMS, cursor=cursor)
            found.extend(page.get("items", ()))
            cursor = page.get("next_cursor")
            if not cursor:
                return found

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Item]:
        """Return status and document whatever the status is; raises RefusedError when it is no document."""
        status, kind, answer = self._exchange(method, path, None if body is None else json.dumps(body).encode())
        if status == 204 or not answer:
            return status, {}
        if "json" not in kind:
            raise RefusedError(status, f"{self.url}{path} is not the API of Penstock: it answered {status}, {kind}")
        return status, _read(answer)

    def _demand(self, method: str, path: str, body: object = None) -> Item:
        status, answer = self.ask(method, path, body)
        if not 200 <= status < 300:
            raise RefusedError(status, _explain(status, answer))
        return answer

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, str, bytes]:
        from http.client import HTTPException

        connection, prefix = self._connect()
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, prefix + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read(ANSWER_BYTES_MAX)
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NotReachableError(
                f"no answer from the controller at {self.url}: {why} (--api URL, or PENSTOCK_API_URL)"
            ) from error
        finally:
            connection.close()

    def _connect(self) -> tuple["HTTPConnection", str]:
        from http.client import HTTPConnection, HTTPSConnection

        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(f"--api: {self.url!r} is not http://HOST:PORT")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS), parts.path.rstrip("/")


def _read(answer: bytes) -> Item:
    try:
        value = json.loads(answer)
    except ValueError as error:
        raise RefusedError(200, "the answer cannot be read as JSON") from error
    return value if isinstance(value, dict) else {"items": value}


def _explain(status: int, problem: Item) -> str:
    """Return one line from a problem document."""
    if status == 401:
        return "the API needs a token, or another one (--token TOKEN, or PENSTOCK_API_TOKEN)"
    return f"{problem.get('detail') or problem.get('title') or 'refused'} ({status})"
