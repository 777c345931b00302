"""A door that strangers cannot hold shut: many addresses that stall, over real sockets."""

import socket
from itertools import cycle
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from securechat.client.signer import Signer
from securechat.robots.echo import EchoRobot
from securechat.robots.interface import IRobot
from securechat.server.factory import ChatServerFactory
from securechat.server.settings import ServerSettings
from securechat.wire.client_connection import ClientConnection
from securechat.wire.handshake import ClientHandshake
from securechat.wire.messages import ClientAuth
from securechat.wire.shaping import Shaping
from tests.harness.daemon import Talk
from tests.harness.pair import NAME, PQ, USER_KEY, accept, identity
from tests.server.test_protocol import Listed

reactor: Any = installed

STRANGERS = [f"127.0.0.{number}" for number in range(2, 66)]  # the user's is 127.0.0.1
RATE = 2  # connections a second of each


class Stalling(Protocol):
    """Sends the same Hello each time, and nothing more."""

    hello = ClientConnection(ClientHandshake(PQ, PQ.generate_key(), NAME, accept), lambda: 0.0).data_to_send()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.hello)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        cast(Strangers, self.factory).open -= 1


class Strangers(Factory):
    """Many addresses that connect at a rate."""

    protocol = Stalling
    noisy = False

    def __init__(self, port: int) -> None:
        self.open = 0  # connections, also those that are not established
        self._port = port
        self._addresses = cycle(STRANGERS)
        self._call = LoopingCall(self._connect)

    def start(self) -> None:
        self._call.start(1 / (RATE * len(STRANGERS)))

    def stop(self) -> None:
        self._call.stop()

    def _connect(self) -> None:
        self.open += 1
        bind = (next(self._addresses), 0)
        TCP4ClientEndpoint(reactor, "127.0.0.1", self._port, bindAddress=bind).connect(self).addErrback(self._failed)

    def _failed(self, _failure: Failure) -> None:
        self.open -= 1


class DoorTests(TestCase):
    """An authorized user among strangers."""

    timeout = 120

    async def test_strangersThatStall(self) -> None:
        """While 64 addresses stall after Hello, twice a second each, a user is admitted sixty times of sixty."""
        settings = ServerSettings(shaping=Shaping.OFF, max_handshakes=64)
        users = Listed()
        server_identity = identity(ClientAuth.REQUIRED, lambda blob, certificate: users.is_listed(blob))
        factory = ChatServerFactory(settings, server_identity, users, cast(IRobot, EchoRobot()), reactor)
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port
        try:
            socket.create_connection(("127.0.0.1", port), source_address=(STRANGERS[-1], 0)).close()
        except OSError:
            raise SkipTest("only Linux has all of 127.0.0.0/8 on its loopback device") from None
        strangers = Strangers(port)
        strangers.start()
        while len(factory.sessions) < settings.max_handshakes:
            await deferLater(reactor, 0.01)
        signer = Signer(USER_KEY.blob, USER_KEY.sign)
        for _ in range(60):
            talk = await Talk().start(port, signer=signer)
            await talk.leave()
        strangers.stop()
        await factory.stop()
        while strangers.open:
            await deferLater(reactor, 0.01)
