"""What a connection needs of the server that has accepted it."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from securechat.calls.requests import Access
from securechat.server.accounts import Accounts
from securechat.server.beat import Beat
from securechat.server.counters import Counters
from securechat.server.current_robot import CurrentRobot
from securechat.server.message_memory import MessageMemory
from securechat.server.pseudonyms import Pseudonyms
from securechat.server.settings import ServerSettings
from securechat.server.users import Users
from securechat.wire.handshake import ServerIdentity
from securechat.wire.messages import About


class Server(Protocol):
    """The objects that all connections share. A reload replaces the first four."""

    settings: ServerSettings
    identity: ServerIdentity
    users: Users
    access: Access
    current_robot: CurrentRobot
    pseudonyms: Pseudonyms
    message_memory: MessageMemory
    counters: Counters
    accounts: Accounts
    clock: IReactorTime
    monotonic: Callable[[], float]  # seconds
    tick: int  # milliseconds
    beat: Beat

    def about(self, user: str) -> About:
        """What a client of this user is told of the server."""
