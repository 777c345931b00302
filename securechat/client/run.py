"""Run the client with the given options: load the key, connect, then chat or serve the API."""

import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred

from securechat.client.background import Background
from securechat.client.connecting import Connector
from securechat.client.exit_codes import ExitCode, exit_code
from securechat.client.explain import of_goodbye
from securechat.client.frontends.batch import Batch
from securechat.client.frontends.formats import JsonFormat, TextFormat
from securechat.client.frontends.source import is_interactive, open_source
from securechat.client.identity import agent_signers, file_signers
from securechat.client.output import Output
from securechat.client.prompts import ask_passphrase
from securechat.client.protocol import ChatUser, Signer
from securechat.client.reactor import IClientReactor
from securechat.client.settings import ClientSettings
from securechat.client.stderr import complain, note
from securechat.errors import SecureChatError
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


async def run(
    reactor: IClientReactor,
    options: ClientSettings,
    environ: Mapping[str, str],
    output: Output,
    background: Background | None = None,
) -> ExitCode:
    """Run a session; the exit code. Errors are reported in one line.

    Without `background`, this returns only when the session has ended.
    """
    try:
        if options.print_env:
            from securechat.client.api.environment import print_environment

            print_environment(options)
            return ExitCode.ANSWERED
        signers = await _signers(reactor, options, environ)
        connector = Connector(reactor, options, output)
        if options.serve is not None:
            # Imported here, because twisted.web takes some time to import.
            from securechat.client.api.serve import serve

            return await serve(reactor, options, connector, signers, output)
        chat = _Chat(reactor, options, output, connector, None if options.wait else background)
        return await connector.try_keys(signers, chat.talk)
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


def _frontends(
    reactor: IClientReactor, options: ClientSettings, step: Callable[[str], None], leave: Callable[[Batch], object]
) -> Callable[[], Frontend]:
    """Makes the user interface of a connection. Standard input is read once, however many connections it takes."""
    if is_interactive(options):
        # Imported here, because prompt_toolkit takes as long to import as everything else together.
        from prompt_toolkit import PromptSession

        from securechat.client.frontends.terminal import Terminal

        return lambda: Terminal(PromptSession(erase_when_done=True))
    source = open_source(options, reactor)

    def make() -> Batch:
        form = JsonFormat(reactor.seconds) if options.json else TextFormat()
        return Batch(source, form, sys.stdout, step=step, leaving=leave)

    return make


class _Chat:
    """A conversation with the server, through one frontend for each connection that it takes."""

    def __init__(
        self,
        reactor: IClientReactor,
        options: ClientSettings,
        output: Output,
        connector: Connector,
        background: Background | None,
    ) -> None:
        self._output = output
        self._connector = connector
        self._background = background
        self._is_quiet = options.quiet
        self._make_user = _frontends(reactor, options, connector.step, self._leave)

    def _leave(self, user: Batch) -> None:
        """The batch has all replies, and waits only for the end of the train."""
        background = self._background
        if background is not None:
            self._output.drained().addCallback(lambda _nothing: background.enter(user.exit))
        elif not self._is_quiet:
            note(_("all replies received; leaving with the server's last record, to hide the length of the reply"))

    async def talk(self, signer: Signer | None) -> ExitCode:
        """One connection. An error before the server admitted the client is raised."""
        user = self._make_user()
        self._output.failed = user.outputFailed
        client = await self._connector.connect(signer, user)
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
