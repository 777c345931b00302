"""Run a session with the given options: load the key, connect, verify the host key, chat."""

import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError

from securechat.client.exit_codes import ExitCode, NotConnectedError, exit_code
from securechat.client.explain import of_denial, of_failed_connection, of_goodbye
from securechat.client.frontends.batch import Batch, FixedMessages, Source
from securechat.client.frontends.stdin import StdinLines
from securechat.client.host_key_check import HostKeyCheck, UnknownHostError
from securechat.client.identity import agent_signers, file_signers
from securechat.client.output import Output
from securechat.client.prompts import ask_passphrase, can_ask, confirm_host_key
from securechat.client.protocol import ChatUser, PermissionDeniedError, Signer, connect
from securechat.client.reactor import IClientReactor
from securechat.client.settings import ClientSettings
from securechat.client.stderr import complain, note
from securechat.errors import ConfigurationError, SecureChatError
from securechat.i18n import _
from securechat.wire.events import GoodbyeReceived


class Frontend(ChatUser, Protocol):
    """A user interface. `ended` fires with the argument of `disconnected`; then `exit` is the exit code."""

    exit: ExitCode
    ended: "Deferred[SecureChatError | GoodbyeReceived | None]"

    def outputFailed(self, error: OSError) -> None:
        """Standard output cannot be written. It may be called after the session, but before `exit` is used."""

    def restore_terminal(self) -> "Deferred[None]":
        """Stop all output; fires when the terminal has been restored."""


async def run(reactor: IClientReactor, options: ClientSettings, environ: Mapping[str, str], output: Output) -> ExitCode:
    """Run a session; the exit code. Errors are reported in one line."""
    try:
        signers = await _signers(reactor, options, environ)
        host_key_check = HostKeyCheck(
            options.destination.local_name,
            options.known_hosts,
            pinned=options.host_key,
            accept_new=options.accept_new,
            tell=note,
            step=note if options.verbose or not _is_interactive(options) else lambda _text: None,
        )
        session = _Session(reactor, options, environ, output, host_key_check)
        return await session.talk(signers)
    except SecureChatError as error:
        complain(str(error))
        return exit_code(error, admitted=False)


async def _signers(
    reactor: IClientReactor, options: ClientSettings, environ: Mapping[str, str]
) -> list[Signer] | list[None]:
    """The keys to try; None for an anonymous client."""
    if options.agent:
        return await agent_signers(reactor, environ, options.identity)
    if options.identity is not None:
        return await file_signers(reactor, environ, options.identity, ask_passphrase)
    return [None]


def _is_interactive(options: ClientSettings) -> bool:
    """Whether the user talks at a prompt."""
    return not options.messages and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _frontends(
    reactor: IClientReactor,
    options: ClientSettings,
    environ: Mapping[str, str],
    output: Output,
    host_key_check: HostKeyCheck,
) -> Callable[[], Frontend]:
    """Makes the user interface of a connection. Standard input is read once, however many connections it takes."""
    if sys.stdin is None and not options.messages:
        raise ConfigurationError(_("standard input is closed"))
    if _is_interactive(options):
        # Imported here, because prompt_toolkit takes as long to import as everything else together.
        from securechat.client.frontends.terminal import Server, Terminal
        from securechat.client.terminal.choose import open_screen

        screen = open_screen(reactor, output, environ, keeps_history=not options.no_history)
        name = options.destination.local_name
        return lambda: Terminal(screen, reactor, Server(name, host_key_check), is_verbose=options.verbose)
    source: Source = FixedMessages(options.messages) if options.messages else StdinLines(sys.stdin.fileno(), reactor)
    return lambda: Batch(source, sys.stdout)


class _Session:
    """One session, for which several connections may be needed: a handshake has one key, and waits for no answer."""

    def __init__(
        self,
        reactor: IClientReactor,
        options: ClientSettings,
        environ: Mapping[str, str],
        output: Output,
        host_key_check: HostKeyCheck,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._output = output
        self._host_key_check = host_key_check
        self._make_user = _frontends(reactor, options, environ, output, host_key_check)

    async def talk(self, signers: list[Signer] | list[None]) -> ExitCode:
        """Talk with the first key that the server accepts. An error before the server admitted the client is raised."""
        offered = []
        for signer in signers:
            try:
                return await self._confirm_and_talk(signer)
            except PermissionDeniedError as denial:
                category = denial.category
                offered += [signer.fingerprint] if signer is not None else []
        raise PermissionDeniedError(category, of_denial(self._options.destination.local_name, offered))

    async def _confirm_and_talk(self, signer: Signer | None) -> ExitCode:
        try:
            return await self._talk(signer)
        except UnknownHostError as unknown:
            # The connection is closed, so the server's timeout is not running.
            if not can_ask():
                raise
            await self._output.drained()
            if not confirm_host_key(self._options.destination.local_name, unknown.blob):
                complain(_("Host key verification failed."))
                return ExitCode.NOT_TRUSTED
            self._host_key_check.accept(unknown.blob)
            return await self._talk(signer)

    async def _talk(self, signer: Signer | None) -> ExitCode:
        """One connection."""
        destination = self._options.destination
        user = self._make_user()
        self._output.failed = user.outputFailed
        user.step(_("connecting to {name}").format(name=destination.local_name))
        try:
            client = await connect(
                self._reactor,
                destination,
                suite=self._options.suite,
                check_host_key=self._host_key_check.check,
                signer=signer,
                user=user,
            )
        except (ConnectError, DNSLookupError, OSError) as error:
            raise NotConnectedError(of_failed_connection(error, destination)) from None
        self._output.hold(client.holdReading)
        try:
            end = await user.ended
        except CancelledError:
            client.leave()
            await user.restore_terminal()
            raise
        await self._output.drained()  # an error may change user.exit
        if end is None:
            return user.exit
        if isinstance(end, GoodbyeReceived):
            complain(of_goodbye(end.reason))
            return user.exit
        if not client.was_admitted:
            raise end
        complain(str(end))
        return exit_code(end, admitted=True)
