"""Connections to the server of the command line: which key it accepts, and whether the user accepts its host key."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from twisted.internet.endpoints import HostnameEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool

from securechat.client.destination import Destination
from securechat.client.exit_codes import NotConnectedError
from securechat.client.explain import of_denial, of_failed_connection
from securechat.client.host_key_check import HostKeyCheck, UnknownHostError
from securechat.client.identity import renewed
from securechat.client.output import Output
from securechat.client.prompts import can_ask, confirm_host_key
from securechat.client.protocol import ChatClient, ChatUser
from securechat.client.reactor import IClientReactor
from securechat.client.session_errors import PermissionDeniedError
from securechat.client.settings import ClientSettings
from securechat.client.signer import Signer
from securechat.client.stderr import drop, note
from securechat.errors import AuthenticationError, Category
from securechat.i18n import _
from securechat.wire.handshake import ClientHandshake
from securechat.wire.suites import SUITES

T = TypeVar("T")


async def connect(
    reactor: IClientReactor,
    destination: Destination,
    *,
    suite: bytes,
    check_host_key: Callable[[bytes], None],
    signer: Signer | None,
    user: ChatUser,
) -> ChatClient:
    """Generate a key pair, connect and send the Hello. `user` is told about everything after that.

    `check_host_key` is called with the blob of the server's key and raises AuthenticationError to reject it. Twisted's
    errors (ConnectError, DNSLookupError, …) if the connection cannot be established.
    """
    chosen = SUITES[suite]
    key = await deferToThreadPool(reactor, reactor.getThreadPool(), chosen.generate_key)  # RSA takes 100 ms
    user.step(_("generated a key pair ({suite})").format(suite=suite.decode()))
    handshake = ClientHandshake(chosen, key, destination.name, check_host_key, signer.blob if signer else b"")
    client = ChatClient(handshake, signer, user, reactor)
    try:
        await connectProtocol(_endpoint(reactor, destination), client)
    except ValueError as error:  # a name that IDNA 2008 excludes; Twisted does not look it up
        raise DNSLookupError(str(error)) from None
    return client


def _endpoint(reactor: IClientReactor, destination: Destination) -> IStreamClientEndpoint:
    if destination.zone:  # HostnameEndpoint loses it
        return TCP6ClientEndpoint(reactor, destination.address, destination.port)
    return HostnameEndpoint(reactor, destination.host, destination.port)


class Connector:
    """Connects to one server. ConfigurationError if known_hosts cannot be read."""

    def __init__(self, reactor: IClientReactor, options: ClientSettings, output: Output) -> None:
        self.tell = drop if options.quiet else note  # called with messages about each connection
        self.step: Callable[[str], None] = note if options.verbose else drop  # called with its steps
        self._reactor = reactor
        self._destination = options.destination
        self._suite = options.suite
        self._output = output
        self.host_key_check = HostKeyCheck(
            options.destination.local_name,
            options.known_hosts,
            pinned=options.host_key,
            accept_new=options.accept_new,
            tell=lambda text: self.tell(text),
            step=lambda text: self.step(text),
        )

    async def connect(self, signer: Signer | None, user: ChatUser) -> ChatClient:
        """Connect, and send the Hello; NotConnectedError."""
        self.step(_("connecting to {name}").format(name=self._destination.local_name))
        try:
            client = await connect(
                self._reactor,
                self._destination,
                suite=self._suite,
                check_host_key=self.host_key_check.check,
                signer=renewed(signer, self._destination.name) if signer is not None else None,
                user=user,
            )
            client.successors = self.host_key_check
            return client
        except (ConnectError, DNSLookupError, OSError) as error:
            raise NotConnectedError(of_failed_connection(error, self._destination)) from None

    async def try_keys(self, signers: Sequence[Signer | None], talk: Callable[[Signer | None], Awaitable[T]]) -> T:
        """The result of `talk` with the first key that the server accepts.

        A handshake has one key and does not wait for the user, so this may take several connections. `talk` makes one;
        it raises PermissionDeniedError or UnknownHostError if another is to be tried, and any other SecureChatError.
        """
        offered: dict[str, None] = {}  # a certificate has the fingerprint of its key
        for signer in signers:
            try:
                return await self._confirm_and_talk(signer, talk)
            except PermissionDeniedError as denial:
                category = denial.category
                offered |= {signer.fingerprint: None} if signer is not None else {}
        raise PermissionDeniedError(category, of_denial(self._destination.local_name, list(offered)))

    async def _confirm_and_talk(self, signer: Signer | None, talk: Callable[[Signer | None], Awaitable[T]]) -> T:
        try:
            return await talk(signer)
        except UnknownHostError as unknown:
            # The connection is closed, so the server's timeout is not running.
            if not can_ask():
                raise
            await self._output.drained()
            if not confirm_host_key(self._destination.local_name, unknown.blob):
                raise AuthenticationError(Category.HOST_KEY, _("Host key verification failed.")) from None
            self.host_key_check.accept(unknown.blob)
            return await talk(signer)
