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
from securechat.client.host_key_check import HostKeyCheck
from securechat.client.identity import agent_signers, file_signers, usable
from securechat.client.output import Output
from securechat.client.prompts import ask_passphrase
from securechat.client.protocol import ChatUser
from securechat.client.reactor import IClientReactor
from securechat.client.redial import Redial
from securechat.client.settings import ClientSettings
from securechat.client.signer import Signer
from securechat.client.stderr import complain, note
from securechat.errors import ConfigurationError, SecureChatError
from securechat.i18n import _
from securechat.wire.events import GoodbyeReceived

End = SecureChatError | GoodbyeReceived | None  # of a session, as in `ChatUser.disconnected`


class Frontend(ChatUser, Protocol):
    """A user interface. `ended` fires with the argument of `disconnected`, and is another Deferred for each session.

    When the last session has ended, `exit` is the exit code.
    """

    exit: ExitCode
    ended: Deferred[End]

    @property
    def redial(self) -> Redial | None:
        """How to dial again, when a session has ended and the user goes on in another one."""

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
            from securechat.client.api.environment import load_key, print_environment

            print_environment(options, load_key(options))
            return ExitCode.ANSWERED
        signers = await _signers(reactor, options, environ)
        connector = Connector(reactor, options, output)
        if options.serve is not None:
            # Imported here, because twisted.web takes some time to import.
            from securechat.client.api.serve import serve

            return await serve(reactor, options, connector, signers, output)
        if is_interactive(options):
            make_user = _terminals(reactor, options, environ, output, connector.host_key_check)
        else:
            waiting = None if options.wait else background
            make_user = _batches(reactor, options, output, connector.step, waiting)
        chat = _Chat(make_user, output, connector)
        return await chat.go_on(await connector.try_keys(signers, chat.talk))
    except SecureChatError as error:
        complain(str(error))
        return exit_code(error, admitted=False)


async def _signers(
    reactor: IClientReactor, options: ClientSettings, environ: Mapping[str, str]
) -> list[Signer] | list[None]:
    """The keys to try; None for an anonymous client."""
    name = options.destination.name
    if options.agent:
        return usable(await agent_signers(reactor, environ, options.identity), name)
    if options.identity is not None:
        return usable(await file_signers(reactor, environ, options.identity, ask_passphrase), name)
    return [None]


def _terminals(
    reactor: IClientReactor,
    options: ClientSettings,
    environ: Mapping[str, str],
    output: Output,
    host_key_check: HostKeyCheck,
) -> Callable[[], Frontend]:
    """Makes the user interface of a connection at a terminal."""
    # Imported here, because prompt_toolkit takes as long to import as everything else together.
    from securechat.client.frontends.terminal import Terminal
    from securechat.client.terminal.choose import open_keeper, open_screen
    from securechat.client.terminal.session import Server

    keeper, exchanges = open_keeper(reactor, options)
    screen = open_screen(reactor, output, environ, keeps_history=not options.no_history)
    name = options.destination.local_name

    def make() -> Terminal:
        server = Server(name, host_key_check)
        terminal = Terminal(screen, reactor, server, keeper, is_verbose=options.verbose)
        terminal.restore_conversation(exchanges)
        return terminal

    return make


def _batches(
    reactor: IClientReactor,
    options: ClientSettings,
    output: Output,
    step: Callable[[str], None],
    background: Background | None,
) -> Callable[[], Frontend]:
    """Makes the user interface of a connection. Standard input is read once, however many connections it takes."""
    if options.continue_latest or options.resume is not None:
        raise ConfigurationError(_("--continue and --resume require a terminal"))
    source = open_source(options, reactor)

    def leaving(user: Batch) -> None:
        if background is not None:
            output.drained().addCallback(lambda _nothing: background.enter(user.exit))
        elif not options.quiet:
            note(_("all replies received; leaving with the server's last record, to hide the length of the reply"))

    def make() -> Batch:
        form = JsonFormat(reactor.seconds) if options.json else TextFormat()
        return Batch(source, form, sys.stdout, step=step, leaving=leaving)

    return make


class _Chat:
    """A conversation with the server. It takes a connection and a front end for each key that is tried, and then more
    connections with the same ones if a session is lost."""

    _user: Frontend
    _signer: Signer | None

    def __init__(self, make_user: Callable[[], Frontend], output: Output, connector: Connector) -> None:
        self._make_user = make_user
        self._output = output
        self._connector = connector

    async def talk(self, signer: Signer | None) -> End:
        """The end of the first session with this key. An error before the server admitted the client is raised."""
        self._user = self._make_user()
        self._signer = signer
        return await self._session()

    async def _session(self) -> End:
        """One connection. An error before the server admitted the client is raised."""
        user, ended = self._user, self._user.ended
        self._output.failed = user.outputFailed
        self._connector.step = user.step
        client = await self._connector.connect(self._signer, user)
        self._output.hold(client.holdReading)
        try:
            end = await ended
        except CancelledError:
            client.leave()
            await user.restore_terminal()
            raise
        if isinstance(end, SecureChatError) and not client.was_admitted:
            raise end
        return end

    async def go_on(self, end: End) -> ExitCode:
        """Dial again until the user leaves, or until it is of no use. `end` is that of the session before."""
        user = self._user
        while user.redial is not None:
            try:
                end = await user.redial.run(self._session)
            except Exception:  # an error that would come again, the user has left, or a signal
                await user.restore_terminal()
                if user.redial is not None:
                    raise
                end = None
        await self._output.drained()  # an error may change user.exit
        if end is None:
            return user.exit
        if isinstance(end, GoodbyeReceived):
            complain(of_goodbye(end.reason))
            return user.exit
        complain(str(end))
        return exit_code(end, admitted=True)
