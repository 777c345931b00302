"""The measured servers, each some kind of echo in a process of its own: ``python -m benchmarks.servers NAME``.

A server prints its port. For each line on standard input it prints its CPU time so far in seconds and its resident
memory in KiB. It exits at the end of standard input.
"""

import asyncio
import datetime
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

MANY = 10**6  # sessions and handshakes: the limits of section 13 must not affect the measurement


def report() -> str:
    """CPU time of this process in seconds and its resident memory in KiB."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return f"{time.process_time():.6f} {pages * resource.getpagesize() // 1024}"


def certificate() -> Path:
    """A PEM file with a self-signed certificate and its key, Ed25519 like securechat's."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, None)
    )
    path = Path(tempfile.mkdtemp()) / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    return path


def run_on_twisted(make_port: Callable[[Any], Any]) -> None:
    """Run a server on Twisted's default reactor. `make_port` starts listening and returns the port."""
    from twisted.internet import reactor as installed
    from twisted.internet import stdio
    from twisted.protocols.basic import LineReceiver

    reactor: Any = installed

    class Control(LineReceiver):
        delimiter = b"\n"

        def connectionMade(self) -> None:
            self.sendLine(str(make_port(reactor).getHost().port).encode())

        def lineReceived(self, line: bytes) -> None:
            self.sendLine(report().encode())

        def connectionLost(self, reason: Any = None) -> None:
            reactor.stop()

    stdio.StandardIO(Control())
    reactor.run()


def securechat(make_robot: Callable[[Any], Any] | None = None, shaping: str = "off") -> None:
    """securechat, by default with the robot `echo`."""
    from securechat.robots.echo import EchoRobot
    from securechat.server.protocol import ChatServerFactory
    from securechat.server.settings import ServerSettings
    from securechat.server.users import Anyone
    from securechat.ssh.keys import SigningKey
    from securechat.wire.handshake import ServerIdentity
    from securechat.wire.shaping import Shaping
    from securechat.wire.suites import SUITES

    def make_port(reactor: Any) -> Any:
        host_key, users = SigningKey.generate(), Anyone()
        identity = ServerIdentity(host_key, SUITES, users.client_auth, users.is_authorized)
        robot = make_robot(reactor) if make_robot is not None else EchoRobot()
        settings = ServerSettings(
            shaping=Shaping(shaping),
            max_sessions=MANY,
            max_sessions_per_source=MANY,
            max_handshakes=MANY,
            max_handshakes_per_source=MANY,
            message_burst=MANY,
            handshake_rate=MANY,
            handshake_burst=MANY,
        )
        factory = ChatServerFactory(settings, identity, users, robot, reactor)
        return reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=1024)

    run_on_twisted(make_port)


def securechat_turing() -> None:
    """securechat with the Turing robot; the second argument is the service's address."""
    from securechat.robots.turing.robot import TuringRobot
    from securechat.robots.turing.settings import TuringSettings
    from tests.harness.turing_peer import KEY

    securechat(lambda reactor: TuringRobot(reactor, TuringSettings(url=sys.argv[2]), KEY))


def securechat_constant() -> None:
    """securechat with one record per client and tick."""
    securechat(shaping="constant")


def securechat_openai() -> None:
    """securechat with a language model; the second argument is the address of the model's server.

    On exit it writes the delay of each tick in seconds to the file named by the third argument.
    """
    from securechat.robots.openai.robot import OpenAIRobot
    from securechat.robots.openai.settings import OpenAISettings, base_url
    from securechat.server.pacing import Ticking

    lateness: list[float] = []
    tick = Ticking._tick

    def timed(self: Ticking) -> None:
        lateness.append(time.monotonic() - self._train.next_tick / 1000)
        tick(self)

    Ticking._tick = timed  # type: ignore[method-assign]
    settings = OpenAISettings(url=base_url(sys.argv[2]), model="m")
    securechat(lambda reactor: OpenAIRobot(reactor, settings), shaping="reply")
    Path(sys.argv[3]).write_text("\n".join(map(str, lateness)))


def openai_peer() -> None:
    """A fake language model server; the second argument is the number of words in a reply, the third words per second.

    A word consists of the question and a counter. The time of a reply's first word is written to standard error.
    """
    import json

    from twisted.internet.protocol import Factory, Protocol
    from twisted.internet.task import LoopingCall

    words, pace = int(sys.argv[2]), float(sys.argv[3])

    class Model(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)
            self.received = b""

        def dataReceived(self, data: bytes) -> None:
            self.received += data
            _head, blank, body = self.received.partition(b"\r\n\r\n")
            if blank and body.endswith(b"}"):
                self.said = json.loads(body)["messages"][-1]["content"]
                self.count = 0
                self.received = b""
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                self.call = LoopingCall(self.speak)
                self.call.start(1 / pace)

        def speak(self) -> None:
            if self.count == 0:
                print(self.said, time.monotonic(), file=sys.stderr)
            last = self.count == words - 1
            delta = {"content": f"{self.said}.{self.count} "}
            chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": "stop" if last else None}]}
            self.transport.write(b"data: " + json.dumps(chunk).encode() + b"\n\n" + b"data: [DONE]\n\n" * last)
            self.count += 1
            if last:
                self.call.stop()
                self.transport.loseConnection()

    run_on_twisted(
        lambda reactor: reactor.listenTCP(0, Factory.forProtocol(Model), interface="127.0.0.1", backlog=1024)
    )


def turing_peer() -> None:
    """A fake server with the Turing robot's API."""
    from twisted.web.server import Site

    from tests.harness.turing_peer import TuringPeer

    run_on_twisted(lambda reactor: reactor.listenTCP(0, Site(TuringPeer(reactor)), interface="127.0.0.1"))


def twisted_tls() -> None:
    """An echo of lines over Twisted's TLS 1.3."""
    from twisted.internet.protocol import Factory
    from twisted.internet.ssl import PrivateCertificate
    from twisted.protocols.basic import LineOnlyReceiver

    class EchoLines(LineOnlyReceiver):
        transport: Any
        delimiter = b"\n"
        MAX_LENGTH = 65536

        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)

        def lineReceived(self, line: bytes) -> None:
            self.sendLine(line)

    def make_port(reactor: Any) -> Any:
        pem = certificate().read_bytes()
        options = PrivateCertificate.loadPEM(pem).options()
        return reactor.listenSSL(0, Factory.forProtocol(EchoLines), options, interface="127.0.0.1", backlog=1024)

    run_on_twisted(make_port)


def twisted_tcp() -> None:
    """An echo of bytes over Twisted's TCP, without encryption."""
    from twisted.internet.protocol import Factory, Protocol

    class Echo(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)
            self.transport.write(b"!")

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

    run_on_twisted(lambda reactor: reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1", backlog=1024))


def uvloop_tls() -> None:
    """An echo of lines over uvloop's TLS 1.3 with asyncio streams."""
    import uvloop

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        writer.close()

    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate())
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        ended = asyncio.Event()

        def control() -> None:
            if sys.stdin.readline():
                print(report(), flush=True)
            else:
                ended.set()

        asyncio.get_running_loop().add_reader(sys.stdin, control)
        await ended.wait()

    uvloop.run(main())


SERVERS: dict[str, Callable[[], None]] = {
    "securechat": securechat,
    "securechat-constant": securechat_constant,
    "securechat-openai": securechat_openai,
    "securechat-turing": securechat_turing,
    "openai-peer": openai_peer,
    "turing-peer": turing_peer,
    "twisted-tls": twisted_tls,
    "twisted-tcp": twisted_tcp,
    "uvloop-tls": uvloop_tls,
}


if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
