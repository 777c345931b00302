"""Twisted's Factory of the server: the connections, and what they share."""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory

from securechat import __version__
from securechat.calls.requests import Access
from securechat.errors import Category
from securechat.robots.adapter import as_api_robot
from securechat.robots.counters import counters_of
from securechat.robots.interface import IApiRobot, IRobot
from securechat.server import connection_log
from securechat.server.accounts import Accounts
from securechat.server.addresses import source_at
from securechat.server.admission import Admission
from securechat.server.beat import Beat
from securechat.server.counters import Counters
from securechat.server.current_robot import CurrentRobot
from securechat.server.limits import UserLimits
from securechat.server.message_memory import MessageMemory
from securechat.server.protocol import ChatServer
from securechat.server.pseudonyms import Pseudonyms
from securechat.server.settings import ServerSettings
from securechat.server.users import Users
from securechat.wire.handshake import ServerIdentity
from securechat.wire.host_keys import announce
from securechat.wire.messages import About, Reason
from securechat.wire.shaping import SHAPINGS

SOFTWARE: Final = f"securechat/{__version__}"


class ChatServerFactory(Factory):
    """Makes a ChatServer for each client that may connect, and numbers them."""

    noisy = False

    def __init__(
        self,
        settings: ServerSettings,
        identity: ServerIdentity,
        users: Users,
        robot: IRobot,
        clock: IReactorTime,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` schedules calls; `monotonic`, in seconds, is the time by which keys and rates age."""
        self.settings = settings
        self.identity = identity
        self.users = users
        self.current_robot = CurrentRobot(as_api_robot(robot, settings.reply_limit))
        self.robot_counters = counters_of(robot)
        self.counters = Counters(by_user=settings.metrics_users)
        self.access = Access(settings.api, self.robot.models)
        self.pseudonyms = Pseudonyms(identity.host_key)
        self.clock = clock
        self.monotonic = monotonic
        self.tick = round(settings.tick * 1000)  # milliseconds
        self.beat = Beat(clock, self.tick)
        self.message_memory = MessageMemory(settings.max_buffered)
        self.accounts = Accounts(settings, monotonic)
        self.admission = Admission(settings, has_users=users.has_list)
        self.sessions: set[ChatServer] = set()
        self._numbers = itertools.count(1)
        self._all_left: Deferred[None] | None = None
        self._drain_end: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress) -> ChatServer | None:  # type: ignore[override] # Twisted's is wider
        """None, and so a closed socket, for a client that may not connect now."""
        session = ChatServer(self, self.next_number())
        place = None
        if self._all_left is None:
            place = self.admission.enter(source_at(addr), self.monotonic(), session.evict)
        if place is None:
            self.counters.refused += 1
            connection_log.refused(session.number, addr, Category.LIMIT)
            return None
        session.place = place
        self.sessions.add(session)
        return session

    def next_number(self) -> int:
        """The number of a new connection, in the log."""
        return next(self._numbers)

    def about(self, user: str) -> About:
        """What a client of this user is told of the server."""
        settings = self.settings
        shaping = SHAPINGS.index(settings.shaping)
        successor = self.identity.next_host_key
        software = SOFTWARE if successor is None else announce(SOFTWARE, successor.blob)
        return About(
            user, self.robot.name, software, settings.message_limit, settings.api, shaping, self.tick, settings.width
        )

    @property
    def robot(self) -> IApiRobot:
        """The robot for new replies."""
        return self.current_robot.robot

    def configure(
        self, settings: ServerSettings, users: Users, robot: IRobot, user_limits: Mapping[str, UserLimits]
    ) -> None:
        """Use these from now on.

        From the next message on, open sessions ask the new robot within the new limits of their user; otherwise they
        keep the previous settings.
        `settings` must have the same values as before where `Extra.at_start` is true.
        """
        self.settings = settings
        self.users = users
        self.identity = replace(
            self.identity,
            suites=settings.allowed_suites,
            client_auth=users.client_auth,
            is_authorized=users.is_authorized,
        )
        self.current_robot.replace(as_api_robot(robot, settings.reply_limit))
        self.robot_counters = counters_of(robot)
        self.access = Access(settings.api, self.robot.models)
        self.admission.configure(settings, has_users=users.has_list)
        self.accounts.default = settings
        self.accounts.limits = user_limits

    def connected_users(self) -> set[str]:
        """The names of authorized users who have a session."""
        found = (session.authorization for session in self.sessions if session.is_admitted)
        return {authorization.user for authorization in found if authorization.authorized_key}

    def kick(self, user: str) -> list[ChatServer]:
        """End the sessions of an authorized user with GOODBYE, and return them."""
        found = [session for session in self.sessions if session.is_admitted and session.authorization.user == user]
        kicked = [session for session in found if session.authorization.authorized_key]
        for session in kicked:
            session.leave(Reason.REMOVED)
        return kicked

    def sessionEnded(self, session: ChatServer) -> None:
        self.sessions.discard(session)
        if self._all_left is not None and not self.sessions:
            self._end_stop()

    def drop_unauthorized(self) -> None:
        """Send GOODBYE to users whose key is no longer authorized."""
        for session in list(self.sessions):
            session.leave_if_unauthorized()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called. New connections are refused from then on."""
        return self._all_left is not None

    def stop(self) -> Deferred[None]:
        """Refuse new connections, and end each session after its replies, or after `settings.drain` seconds.

        Fires when all clients are gone, GOODBYE_TIMEOUT later at most.
        """
        self._all_left = all_left = Deferred[None]()
        if not self.sessions:
            all_left.callback(None)
            return all_left
        self._drain_end = self.clock.callLater(self.settings.drain, self._leave_all)
        for session in list(self.sessions):
            session.drain()
        return all_left

    def _leave_all(self) -> None:
        for session in list(self.sessions):
            session.leave(Reason.STOPPING)

    def _end_stop(self) -> None:
        assert self._all_left is not None
        if self._drain_end is not None and self._drain_end.active():
            self._drain_end.cancel()
        self._all_left.callback(None)

    def abort(self) -> None:
        """Close all connections at once."""
        for session in list(self.sessions):
            session.transport.abortConnection()
