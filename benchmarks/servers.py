"""The servers that are measured: ``python -m benchmarks.servers NAME``, each an echo of some kind on its own process.

A server prints its port. For each line that it then gets on standard input it prints the CPU seconds that it has used
so far and its resident memory in KiB; at the end of standard input it ends.
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

MANY = 10**6  # sessions: the limits of section 13 are not what is measured


def report() -> str:
    """CPU seconds and resident KiB of this process."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return f"{time.process_time():.6f} {pages * resource.getpagesize() // 1024}"


def certificate() -> Path:
    """A self-signed certificate with its key, Ed25519 as ours, in one PEM file."""
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
    """Run a server on Twisted's default reactor; `make_port` listens and returns the port."""
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
    """Our own server, with the echo robot unless told otherwise."""
    from securechat.admission import Limits
    from securechat.keyexchange import ServerIdentity
    from securechat.keys import SigningKey
    from securechat.pseudonyms import Pseudonyms
    from securechat.robots.echo import EchoRobot
    from securechat.server import Chat, ChatServerFactory
    from securechat.shaping import Shaping
    from securechat.suites import SUITES
    from securechat.users import Anyone

    def make_port(reactor: Any) -> Any:
        host_key, users = SigningKey.generate(), Anyone()
        chat = Chat(
            identity=ServerIdentity(host_key, SUITES, users.client_auth, users.is_authorized),
            users=users,
            pseudonyms=Pseudonyms(host_key),
            robot=make_robot(reactor) if make_robot is not None else EchoRobot(),
            limits=Limits(MANY, MANY, MANY, MANY, MANY),
            shaping=Shaping(shaping),
        )
        return reactor.listenTCP(0, ChatServerFactory(chat, reactor), interface="127.0.0.1", backlog=1024)

    run_on_twisted(make_port)


def securechat_turing() -> None:
    """Our own server with the Turing robot, whose service is the address in the second argument."""
    from securechat.robots.turing import TuringRobot
    from tests.turing_peer import KEY

    securechat(lambda reactor: TuringRobot(reactor, KEY, url=sys.argv[2]))


def securechat_constant() -> None:
    """Our own server with a record to each client each tick."""
    securechat(shaping="constant")


def turing_peer() -> None:
    """A server that speaks the Turing robot's API."""
    from twisted.web.server import Site

    from tests.turing_peer import TuringPeer

    run_on_twisted(lambda reactor: reactor.listenTCP(0, Site(TuringPeer(reactor)), interface="127.0.0.1"))


def twisted_tls() -> None:
    """Twisted's own TLS 1.3 with an echo of lines."""
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
    """Twisted's TCP with an echo of bytes: what there is without any protection."""
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
    """uvloop's TLS 1.3 under asyncio's streams, with an echo of lines."""
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
    "securechat-turing": securechat_turing,
    "turing-peer": turing_peer,
    "twisted-tls": twisted_tls,
    "twisted-tcp": twisted_tcp,
    "uvloop-tls": uvloop_tls,
}


if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
