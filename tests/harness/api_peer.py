"""A server that records API requests, and answers them as a test says."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.harness.openai_peer import OpenAIPeer, Script


class Asked(NamedTuple):
    """A request as it arrived; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ApiPeer(OpenAIPeer):
    """Plays its scripts one after the other, whatever the requests; the last one is repeated."""

    def __init__(self, reactor: Any, *scripts: Callable[[], Script]) -> None:
        super().__init__(reactor)
        self.scripts = list(scripts)
        self.requests: list[Asked] = []

    def script(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Script:
        self.requests.append(Asked(method, path, headers, body))
        return (self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])()
