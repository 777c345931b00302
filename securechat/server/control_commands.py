"""The commands of the control socket.

A command is a struct: its tag is the name, its fields are the arguments, and `run` yields the rows of the answer, for
which it may wait. To add one, write its class and add it to COMMANDS, here, and to COMMANDS in securechat/control.py.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, Struct

from securechat import __version__
from securechat.errors import SecureChatError
from securechat.server.factory import ChatServerFactory
from securechat.server.ledger.interface import KICK, RELOAD, Entry, LedgerError
from securechat.server.protocol import ChatServer
from securechat.ssh import keys
from securechat.wire.messages import Reason

Row = Mapping[str, object]
NO_ROWS: Final[Sequence[Row]] = ()
Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class CommandError(SecureChatError):
    """A command cannot be carried out; the message says why, in English, as the log does."""


@dataclass(frozen=True, slots=True)
class Controls:
    """What commands act upon."""

    factory: ChatServerFactory
    reload: Callable[[], str | None]  # what SIGHUP does; why it failed, or None
    drain: Callable[[], None]  # what the first SIGTERM does
    usage: Callable[[date | None], AsyncIterator[Entry]]  # as Bookkeeping.usage
    send: Callable[[str, str], Awaitable[None]] | None = None  # as Notices.send; None if no daemon shares the ledger


class Command(Struct, frozen=True, forbid_unknown_fields=True, tag_field="command"):
    """The base class of all commands."""

    def run(self, controls: Controls) -> AsyncIterator[Row]:
        """Carry out the command; the rows of the answer. CommandError, also between rows."""
        raise NotImplementedError

    def finish(self, controls: Controls) -> None:
        """The answer has been sent, or the connection was lost before."""


def _admitted(controls: Controls) -> list[ChatServer]:
    """The sessions of admitted clients, by number."""
    sessions = [session for session in controls.factory.sessions if session.is_admitted]
    return sorted(sessions, key=lambda session: session.number)


class Sessions(Command, frozen=True, tag="sessions"):
    """The sessions, a row each."""

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        for session in _admitted(controls):
            if session in controls.factory.sessions:  # it may have ended while others were written
                yield session.state._asdict()


class Kick(Command, frozen=True, tag="kick"):
    """End a session with GOODBYE; it is a row of the answer."""

    session: Number

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        for session in _admitted(controls):
            if session.number == self.session:
                state = session.state
                session.leave(Reason.REMOVED)
                yield state._asdict()
                return
        raise CommandError(f"no session {self.session}")


class KickUser(Command, frozen=True, tag="kick-user"):
    """End the sessions of an authorized user with GOODBYE; those of this daemon are rows of the answer.

    Daemons that share the ledger end theirs, too.
    """

    user: Annotated[str, Meta(min_length=1)]

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        for session in controls.factory.kick(self.user):
            yield session.state._asdict()
        await _send(controls, KICK, self.user)


async def _send(controls: Controls, action: str, name: str = "") -> None:
    """Send a notice to the daemons that share the ledger, if there are any."""
    if controls.send is not None:
        try:
            await controls.send(action, name)
        except LedgerError as error:
            raise CommandError(f"done by this daemon, but the others cannot be told: {error}") from None


class _User(NamedTuple):
    user: str
    key: str  # a fingerprint
    sessions: int


class Users(Command, frozen=True, tag="users"):
    """The authorized users with the number of their sessions, a row for each key.

    Of those that are looked up by a program, or have a certificate, only those with a session are known. A key may have
    certificates with several names.
    """

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        users = controls.factory.users
        if not users.has_list:
            raise CommandError("everyone is admitted: there is no list of users")
        found = [session.authorization for session in _admitted(controls)]
        numbers = Counter((user.authorized_key, user.user) for user in found if user.authorized_key)
        for key, name in dict.fromkeys([*numbers, *users.names.items()]):
            yield _User(name, keys.fingerprint(key), numbers[key, name])._asdict()


class Reload(Command, frozen=True, tag="reload"):
    """What SIGHUP does; an error if the previous state is kept."""

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        problem = controls.reload()
        if problem:
            raise CommandError(problem)
        for row in NO_ROWS:
            yield row


class ReloadAll(Command, frozen=True, tag="reload-all"):
    """What SIGHUP does, at all daemons that share the ledger; at none of the others if this one cannot do it."""

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        if controls.send is None:
            raise CommandError("no other daemon shares the ledger: use reload")
        problem = controls.reload()
        if problem:
            raise CommandError(problem)
        await _send(controls, RELOAD)
        for row in NO_ROWS:
            yield row


class Drain(Command, frozen=True, tag="drain"):
    """What the first SIGTERM does, after the answer: a daemon without sessions ends at once."""

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        for row in NO_ROWS:
            yield row

    def finish(self, controls: Controls) -> None:
        controls.drain()


class Usage(Command, frozen=True, tag="usage"):
    """The usage of users, a row for each user and day: from a day on, or today (UTC)."""

    since: date | None = None

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        try:
            async for entry in controls.usage(self.since):
                counts = entry.counts
                yield {
                    "day": entry.day,
                    "user": entry.user,
                    "messages": counts.messages,
                    "calls": counts.calls,
                    "prompt-tokens": counts.prompt_tokens,
                    "completion-tokens": counts.completion_tokens,
                    "estimated-tokens": counts.estimated_tokens,
                }
        except LedgerError as error:
            raise CommandError(str(error)) from None


class Stats(Command, frozen=True, tag="stats"):
    """The totals since the daemon was started, in one row."""

    async def run(self, controls: Controls) -> AsyncIterator[Row]:
        factory = controls.factory
        counters = factory.counters
        total = counters.total()
        waiting = [session.waiting for session in _admitted(controls)]
        handshakes: Counter[bool] = Counter()
        for (_suite, admitted), number in counters.handshakes.items():
            handshakes[admitted] += number
        yield {
            "version": __version__,
            "ready": not factory.is_stopping,
            "sessions": factory.admission.sessions.total,
            "sessions-limit": factory.settings.max_sessions,
            "connections-refused": counters.refused,
            "handshakes-admitted": handshakes[True],
            "handshakes-failed": handshakes[False],
            "aborts": counters.aborts.total(),
            "messages": total.messages,
            "calls": total.calls,
            "replies": counters.replies.total(),
            "replies-failed": sum(number for (_call, fault), number in counters.replies.items() if fault is not None),
            "prompt-tokens": total.usage.prompt,
            "completion-tokens": total.usage.completion,
            "messages-waiting": sum(number for number, _size in waiting),
            "messages-buffered": factory.message_memory.all.taken,
            "replies-buffered": sum(size for _number, size in waiting),
            "keys-stale": bool(factory.users.problem),
            "ledger-stale": bool(factory.accounts.problem),
        }


COMMANDS: Final[Any] = Sessions | Kick | KickUser | Users | Usage | Reload | ReloadAll | Drain | Stats
