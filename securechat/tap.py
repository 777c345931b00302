"""``twistd securechat``: how the parts of the daemon are assembled."""

import securechat.without_gc  # noqa: F401

# isort: split
import gc
import os
from functools import partial
from typing import cast

from twisted.application.service import IService
from twisted.python import usage

from securechat.clock import MonotonicReactor
from securechat.errors import ConfigurationError
from securechat.i18n import _
from securechat.robots.registry import make_robots
from securechat.server.factory import ChatServerFactory
from securechat.server.hardening import PRIVATE, forbid_dumps, refuse_root
from securechat.server.ledger.opening import open_ledger
from securechat.server.options import Options
from securechat.server.service import ChatService, Configuration, IServerReactor, StartError
from securechat.server.startup import check_public
from securechat.server.users import make_users
from securechat.ssh.private_keys import load_or_create_host_key, load_successor
from securechat.wire.handshake import ServerIdentity

gc.enable()

__all__ = ["Options", "makeService"]  # which twistd looks up here


def _configure(options: Options, factory: ChatServerFactory, reactor: IServerReactor) -> Configuration:
    """Read the configuration file again; ConfigurationError or UsageError if anything cannot be used."""
    settings, robots, user_limits = options.read(factory.settings)
    for endpoint in settings.listen:
        check_public(endpoint, settings)
    users, robot = make_users(settings, reactor), make_robots(reactor, robots, os.environ)
    return Configuration(settings, users, robot, user_limits)


def makeService(options: Options) -> IService:
    """The daemon's service. StartError if a file, a robot or an endpoint cannot be used."""
    from twisted.internet import reactor as installed

    os.umask(PRIVATE)  # its option --umask still takes precedence
    forbid_dumps()
    reactor: IServerReactor = cast(IServerReactor, MonotonicReactor(installed))
    settings = options.settings
    try:
        if options.parent is not None:
            refuse_root(settings, options.parent.get("uid"))
        if options.log_file is not None:
            options.log_file.open()
        host_key = load_or_create_host_key(settings.host_key_path)
        users = make_users(settings, reactor)
        successor = load_successor(settings.next_host_key, host_key) if settings.next_host_key is not None else None
        identity = ServerIdentity(host_key, settings.allowed_suites, users.client_auth, users.is_authorized, successor)
        robot = make_robots(reactor, options.robots, os.environ)
        factory = ChatServerFactory(settings, identity, users, robot, reactor)
        factory.accounts.limits = options.user_limits
        configure = partial(_configure, options, factory, reactor) if options["config"] is not None else None
        shared = open_ledger(settings, reactor)
        return ChatService(factory, settings.listen, reactor, shared, options.log_file, configure)
    except (ConfigurationError, usage.UsageError) as error:
        raise StartError(_("securechat: {problem}").format(problem=error)) from None
