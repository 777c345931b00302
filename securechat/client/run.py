"""Run a session with the given options: load the key, connect, verify the host key, chat."""

import sys
from collections.abc import Mapping
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError

from securechat.client.exit_codes import ExitCode, NotConnectedError, exit_code
from securechat.client.explain import of_denial, of_failed_connection, of_goodbye
from securechat.client.frontends.batch import Batch, FixedMessages
from securechat.client.frontends.stdin import StdinLines
from securechat.client.host_key_check import HostKeyCheck, UnknownHostError
from securechat.client.identity import agent_signers, file_signers
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

    def restore_terminal(self) -> "Deferred[None]":
        """Stop all output; fires when the terminal has been restored."""


async def run(reactor: IClientReactor, options: ClientSettings, environ: Mapping[str, str]) -> ExitCode:
    """Run a session; the exit code. Errors are reported in one line."""
    try:
        signers = await _signers(reactor, options, environ)
        name = options.destination.local_name
        host_key_check = HostKeyCheck(
            name, options.known_hosts, pinned=options.host_key, accept_new=options.accept_new, tell=note
        )
        offered = []
        for signer in signers:
            try:
                return await _confirm_and_talk(reactor, options, signer, host_key_check)
            except PermissionDeniedError as denial:
                category = denial.category
                offered += [signer.fingerprint] if signer is not None else []
        raise PermissionDeniedError(category, of_denial(name, offered))
    except SecureChatError as error:
        complain(str(error))
        return exit_code(error, admitted=False)


async def _confirm_and_talk(
    reactor: IClientReactor, options: ClientSettings, signer: Signer | None, host_key_check: HostKeyCheck
) -> ExitCode:
    try:
        return await _talk(reactor, options, signer, host_key_check)
    except UnknownHostError as unknown:
        # The connection is closed, so the server's timeout is not running.
        if not can_ask():
            raise
        if not confirm_host_key(options.destination.local_name, unknown.blob):
            complain(_("Host key verification failed."))
            return ExitCode.NOT_TRUSTED
        host_key_check.accept(unknown.blob)
        return await _talk(reactor, options, signer, host_key_check)


async def _signers(
    reactor: IClientReactor, options: ClientSettings, environ: Mapping[str, str]
) -> list[Signer] | list[None]:
    """The keys to try; None for an anonymous client."""
    if options.agent:
        return await agent_signers(reactor, environ, options.identity)
    if options.identity is not None:
        return await file_signers(reactor, environ, options.identity, ask_passphrase)
    return [None]


def _frontend(reactor: IClientReactor, options: ClientSettings) -> Frontend:
    if sys.stdout is None or (sys.stdin is None and not options.messages):
        raise ConfigurationError(_("standard input or output is closed"))
    if options.messages:
        return Batch(FixedMessages(options.messages), sys.stdout)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return Batch(StdinLines(sys.stdin.fileno(), reactor), sys.stdout)
    # Imported here, because prompt_toolkit takes as long to import as everything else together.
    from prompt_toolkit import PromptSession

    from securechat.client.frontends.terminal import Terminal

    return Terminal(PromptSession(erase_when_done=True))


async def _talk(
    reactor: IClientReactor, options: ClientSettings, signer: Signer | None, host_key_check: HostKeyCheck
) -> ExitCode:
    """One session. An error before the server admitted the client is raised."""
    destination = options.destination
    user = _frontend(reactor, options)
    note(_("connecting to {name}").format(name=destination.local_name))
    try:
        client = await connect(
            reactor, destination, suite=options.suite, check_host_key=host_key_check.check, signer=signer, user=user
        )
    except (ConnectError, DNSLookupError, OSError) as error:
        raise NotConnectedError(of_failed_connection(error, destination)) from None
    try:
        end = await user.ended
    except CancelledError:
        client.leave()
        await user.restore_terminal()
        raise
    if end is None:
        return user.exit
    if isinstance(end, GoodbyeReceived):
        complain(of_goodbye(end.reason))
        return user.exit
    if not client.was_admitted:
        raise end
    complain(str(end))
    return exit_code(end, admitted=True)
