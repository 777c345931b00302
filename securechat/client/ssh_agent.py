"""Signing with a key that an ssh-agent holds (draft-ietf-sshm-ssh-agent): it is asked, and never gives the key away."""

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
from securechat.ssh.encoding import Reader, string
from securechat.transport import IChatTransport

TIMEOUT: Final = 25.0  # seconds: an agent may ask its user, and the server waits 30
MAX_ANSWER: Final = 256 * 1024  # bytes; OpenSSH's own bound
MAX_SOCKET_PATH: Final = 107  # bytes, on Linux; Twisted waits 30 s for a longer one

REQUEST_IDENTITIES: Final = 11
IDENTITIES_ANSWER: Final = 12
SIGN_REQUEST: Final = 13
SIGN_RESPONSE: Final = 14


class _AgentProtocol(Protocol):
    """Sends one request; `answer` fires with what comes back, or fails with ConfigurationError."""

    transport: IChatTransport

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""
        self.answer: Deferred[bytes] = Deferred(lambda _answer: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self.transport.write(string(self._request))

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < 4:
            return
        size = int.from_bytes(self._buffer[:4], "big")
        if not 1 <= size <= MAX_ANSWER:
            self.transport.abortConnection()
        elif len(self._buffer) >= 4 + size and not self.answer.called:
            self.answer.callback(self._buffer[4 : 4 + size])
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(ConfigurationError(_("the ssh-agent closed the connection without an answer")))


async def _ask(reactor: IClientReactor, environ: Mapping[str, str], request: bytes, expected: int) -> Reader:
    """The body of the agent's answer, if it is of the expected type."""
    path = environ.get("SSH_AUTH_SOCK")
    if not path:
        raise ConfigurationError(_("no ssh-agent: SSH_AUTH_SOCK is not set; start one, or use -i FILE"))
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise _unreachable(path, errno.ENAMETOOLONG)
    endpoint = UNIXClientEndpoint(reactor, path, timeout=TIMEOUT)
    try:
        protocol = await endpoint.connect(Factory.forProtocol(lambda: _AgentProtocol(request)))
    except ConnectError as error:
        raise _unreachable(path, error.osError or errno.ETIMEDOUT) from None
    assert isinstance(protocol, _AgentProtocol)
    try:
        answer = await protocol.answer.addTimeout(TIMEOUT, reactor)
    except TimedOut:
        raise ConfigurationError(_("the ssh-agent did not answer in time")) from None
    if answer[0] != expected:
        raise ConfigurationError(_("the ssh-agent refused"))
    return Reader(answer[1:])


def _unreachable(path: str, error: int) -> ConfigurationError:
    return ConfigurationError(_("no ssh-agent at {path}: {error}").format(path=path, error=os.strerror(error)))


async def agent_keys(reactor: IClientReactor, environ: Mapping[str, str]) -> list[bytes]:
    """The Ed25519 keys that the agent holds; ConfigurationError if it cannot be asked."""
    answer = await _ask(reactor, environ, bytes([REQUEST_IDENTITIES]), IDENTITIES_ANSWER)
    found = []
    try:
        for _index in range(answer.uint32()):
            blob, _comment = answer.string(), answer.string()
            if blob.startswith(string(keys.KEY_TYPE)):
                keys.check_blob(blob)
                found.append(blob)
    except ValueError:
        raise ConfigurationError(_("the ssh-agent's answer cannot be read")) from None
    return found


async def agent_sign(reactor: IClientReactor, environ: Mapping[str, str], blob: bytes, data: bytes) -> bytes:
    """The key's signature of `data`, 64 bytes and verified; ConfigurationError if the agent gives none."""
    request = bytes([SIGN_REQUEST]) + string(blob) + string(data) + bytes(4)
    answer = await _ask(reactor, environ, request, SIGN_RESPONSE)
    try:
        inner = Reader(answer.string())
        kind, signature = inner.string(), inner.string()
    except ValueError:
        raise ConfigurationError(_("the ssh-agent's answer cannot be read")) from None
    if kind != keys.KEY_TYPE or not keys.verify(blob, signature, data):
        raise ConfigurationError(_("the ssh-agent gave a signature that does not verify"))
    return signature
