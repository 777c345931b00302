"""The daemon's life: listening, reading the keys again on SIGHUP, and saying goodbye."""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from twisted.application import strports
from twisted.application.service import MultiService
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import Logger
from twisted.python.usage import UsageError

from securechat.i18n import _
from securechat.server.protocol import ChatServerFactory
from securechat.server.users import AuthorizedUsers
from securechat.ssh import keys

log = Logger()


class IServerReactor(IReactorCore, IReactorFromThreads):
    """What a daemon needs of its reactor."""


class StartError(SystemExit, Exception):
    """The daemon cannot start; its argument says why.

    Being a SystemExit, it ends ``twistd -n`` with one line and status 1 rather than a traceback; being an Exception,
    it lets a twistd that became a daemon tell its parent and remove its pid file.
    """


class ChatService(MultiService):
    """A ChatServerFactory on its endpoints, with the robot that it asks."""

    def __init__(self, factory: ChatServerFactory, endpoints: Sequence[str], reactor: IServerReactor) -> None:
        """`endpoints` are Twisted's server endpoint strings; UsageError if one of them is none."""
        super().__init__()
        self._factory = factory
        self._reactor = reactor
        self._previous_handler: Any = None
        for endpoint in endpoints:
            try:
                strports.service(endpoint, factory, reactor).setServiceParent(self)
            except (ValueError, TypeError, LookupError, OSError) as error:
                raise UsageError(_("--listen {endpoint}: {error}").format(endpoint=endpoint, error=error)) from None

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except CannotListenError as error:
            problem = f"securechat: {error}"
            print(problem, file=sys.__stderr__)  # sys.stderr goes to the log by now, and so will what is raised
            raise StartError(problem) from None

    def startService(self) -> None:
        super().startService()
        self._previous_handler = signal.signal(signal.SIGHUP, self._hungUp)
        chat = self._factory.chat
        log.info(
            _("host key {fingerprint}, robot {robot}"),
            fingerprint=keys.fingerprint(chat.identity.host_key.blob),
            robot=chat.robot.name,
        )

    @inlineCallbacks
    def stopService(self) -> Any:
        signal.signal(signal.SIGHUP, self._previous_handler)
        yield super().stopService()
        yield self._factory.stop()
        yield self._factory.chat.robot.close()

    def _hungUp(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self.reload)

    def reload(self) -> None:
        """Read the authorized keys again, and let go those who are not in them any more."""
        users = self._factory.chat.users
        if isinstance(users, AuthorizedUsers):
            users.refresh()
            # Not only if that gave new keys: a handshake may have had them read before.
            self._factory.drop_unauthorized()
