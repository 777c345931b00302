"""A client for ssh-agent (draft-ietf-sshm-ssh-agent): lists its keys and requests signatures."""

import errno
import os
from collections.abc import Mapping
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from securechat.client.reactor import IClientReactor
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.ssh import keys
from securechat.ssh.certificates import is_certificate, key_of
from securechat.ssh.encoding import Reader, string
from securechat.transport import IChatTransport

TIMEOUT: Final = 25.0  # seconds; an agent may ask its user, and the server's timeout is 30
MAX_REPLY: Final = 256 * 1024  # bytes; the same limit as OpenSSH's
MAX_SOCKET_PATH: Final = 107  # bytes, on Linux; with a longer path, Twisted waits for its timeout

REQUEST_IDENTITIES: Final = 11
IDENTITIES_ANSWER: Final = 12
SIGN_REQUEST: Final = 13
SIGN_RESPONSE: Final = 14


class NoAgentError(ConfigurationError):
    """There is no agent at its socket, or it has ended. It may be started again."""


class _AgentProtocol(Protocol):
    """Sends one request; `reply` fires with the agent's reply, or fails with ConfigurationError."""

    transport: IChatTransport

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""
        self.reply: Deferred[bytes] = Deferred(lambda _reply: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self.transport.write(string(self._request))

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < 4:
            return
        size = int.from_bytes(self._buffer[:4], "big")
        if not 1 <= size <= MAX_REPLY:
            self.transport.abortConnection()
        elif len(self._buffer) >= 4 + size and not self.reply.called:
            self.reply.callback(self._buffer[4 : 4 + size])
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.reply.called:
            self.reply.errback(NoAgentError(_("ssh-agent closed the connection without a reply")))


async def _request(reactor: IClientReactor, environ: Mapping[str, str], request: bytes, expected: int) -> Reader:
    """Send a request to the agent; the body of its reply, which must have the expected type."""
    path = environ.get("SSH_AUTH_SOCK")
    if not path:
        raise ConfigurationError(_("SSH_AUTH_SOCK is not set; start ssh-agent, or use -i FILE"))
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise _unreachable(path, errno.ENAMETOOLONG)
    endpoint = UNIXClientEndpoint(reactor, path, timeout=TIMEOUT)
    try:
        protocol = await endpoint.connect(Factory.forProtocol(lambda: _AgentProtocol(request)))
    except ConnectError as error:
        raise _unreachable(path, error.osError or errno.ETIMEDOUT) from None
    assert isinstance(protocol, _AgentProtocol)
    try:
        reply = await protocol.reply.addTimeout(TIMEOUT, reactor)
    except TimedOut:
        raise ConfigurationError(_("timed out waiting for ssh-agent")) from None
    if reply[0] != expected:
        raise ConfigurationError(_("agent refused operation"))
    return Reader(reply[1:])


def _unreachable(path: str, error: int) -> NoAgentError:
    return NoAgentError(_("cannot connect to ssh-agent at {path}: {error}").format(path=path, error=os.strerror(error)))


async def agent_keys(reactor: IClientReactor, environ: Mapping[str, str]) -> list[bytes]:
    """The blobs of the agent's Ed25519 keys and of certificates for such keys; ConfigurationError."""
    reply = await _request(reactor, environ, bytes([REQUEST_IDENTITIES]), IDENTITIES_ANSWER)
    found = []
    try:
        for _index in range(reply.uint32()):
            blob, _comment = reply.string(), reply.string()
            if is_certificate(blob):
                if _is_usable(blob):
                    found.append(blob)
            elif blob.startswith(string(keys.KEY_TYPE)):
                keys.check_blob(blob)
                found.append(blob)
    except ValueError:
        raise ConfigurationError(_("invalid reply from ssh-agent")) from None
    return found


def _is_usable(certificate: bytes) -> bool:
    """Whether a server could accept a certificate. The agent may have others, for instance of an RSA authority."""
    try:
        keys.check_blob(key_of(certificate))
    except ValueError:
        return False
    return True


async def agent_sign(reactor: IClientReactor, environ: Mapping[str, str], blob: bytes, data: bytes) -> bytes:
    """The signature of `data` with a key or the key of a certificate, 64 bytes, verified; ConfigurationError."""
    request = bytes([SIGN_REQUEST]) + string(blob) + string(data) + bytes(4)
    reply = await _request(reactor, environ, request, SIGN_RESPONSE)
    try:
        inner = Reader(reply.string())
        kind, signature = inner.string(), inner.string()
    except ValueError:
        raise ConfigurationError(_("invalid reply from ssh-agent")) from None
    if kind != keys.KEY_TYPE or not keys.verify(key_of(blob), signature, data):
        raise ConfigurationError(_("incorrect signature from ssh-agent"))
    return signature
