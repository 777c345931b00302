"""The HTTP server of the local API."""

from collections.abc import Mapping
from typing import Final

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from securechat.client.api import openai
from securechat.client.api.call_log import CallLog
from securechat.client.api.calls import Calls
from securechat.client.api.channel import Channel
from securechat.client.api.door import Door, DoorSettings
from securechat.client.api.errors import HttpError
from securechat.client.api.exchange import Exchange
from securechat.client.api.interface import Answer, Interface
from securechat.client.api.model_list import ModelList
from securechat.client.api.ollama import interface as ollama
from securechat.client.api.ollama.interface import OllamaInterface
from securechat.client.api.openai import OpenAIInterface
from securechat.client.api.request import ApiRequest

MAX_BODY: Final = 2**24  # bytes
MAX_CONNECTIONS: Final = 64
MAX_SURPLUS: Final = 64  # further connections, which get an error; more are closed at once


class Site(ServerFactory):
    """Accepts the connections of tools. There is no access log: calls are logged, and refusals are answered."""

    noisy = False

    def __init__(self, calls: Calls, door: Door, log: CallLog, clock: IReactorTime) -> None:
        self.door = door
        self._calls = calls
        self._log = log
        self._clock = clock
        self.connections = 0  # that are open

    @property
    def max_body(self) -> int:
        """Bytes in the longest body of a request."""
        return min(MAX_BODY, self._calls.max_body)

    def buildProtocol(self, addr: IAddress | None) -> Channel | None:
        """A new connection; None to close it."""
        if self.connections >= MAX_CONNECTIONS + MAX_SURPLUS:
            return None
        channel = Channel(self, self._clock, is_surplus=self.connections >= MAX_CONNECTIONS)
        self.connections += 1
        return channel

    def connection_closed(self) -> None:
        """A connection is closed."""
        self.connections -= 1

    def respond(self, request: ApiRequest) -> None:
        """Respond to a request that was accepted and is complete."""
        admitted = request.admitted
        if admitted.answer is not None:
            request.respond(admitted.answer)
        elif admitted.interface is None:
            request.respond_nothing()
        else:
            method, body = request.method.decode(), request.take_body()
            try:
                response = admitted.interface.respond(method, admitted.path, body)
            except HttpError as error:
                request.respond_error(error)
                return
            if isinstance(response, Answer):
                request.respond(response)
            else:
                record = self._log.began(method, request.uri.partition(b"?")[0].decode())
                exchange = Exchange(request, response.dialect, record, self._clock)
                exchange.start(self._calls, response.path, response.body)


def make_site(
    calls: Calls,
    settings: DoorSettings,
    log: CallLog,
    clock: IReactorTime,
    interfaces: Mapping[str, Interface] | None = None,
) -> Site:
    """The server for all interfaces; `interfaces` are those beside OpenAI's and Ollama's, by their folders."""
    models = ModelList(clock.seconds)
    known: dict[str, Interface] = {openai.FOLDER: OpenAIInterface(models), ollama.FOLDER: OllamaInterface(models)}
    door = Door(settings, {**known, **(interfaces or {})})
    return Site(calls, door, log, clock)
