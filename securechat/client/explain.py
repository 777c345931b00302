"""Descriptions of failures for the user: the cause, and what to do about it."""

import os
from collections.abc import Sequence
from typing import Final

from twisted.internet.error import ConnectionRefusedError, DNSLookupError, NoRouteError, TimeoutError

from securechat.client.destination import Destination
from securechat.errors import Fault, SecureChatError
from securechat.i18n import N_, _
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason

_FAULTS: Final = {
    Fault.UNREACHABLE: N_("the robot is unreachable; try again later"),
    Fault.REFUSED: N_("the robot refused the message; rephrase it, or contact the server's operator if this persists"),
    Fault.TOO_LONG: N_(
        "the reply or the conversation is too long for the robot; shorten the message, or start a new conversation"
    ),
    Fault.TIMED_OUT: N_("the robot timed out; try again"),
    Fault.BROKEN_ANSWER: N_("invalid response from the robot; try again, or contact the server's operator"),
    Fault.BUSY: N_("the robot is overloaded, or its quota is exhausted; try again later"),
    Fault.CANCELLED: N_("the reply was cancelled"),
    Fault.TOO_MANY_MESSAGES: N_("too many pending messages; wait for the replies, then try again"),
    Fault.INTERNAL: N_("internal server error; contact the server's operator"),
    Fault.NOT_FOUND: N_("the server does not have what was requested"),
    Fault.NOT_ALLOWED: N_("the server does not allow this request; contact the server's operator"),
    Fault.LIMIT_REACHED: N_("not answered: you have reached a limit of the server"),
}

_REASONS: Final = {
    Reason.LEAVING: N_("the server closed the session; reconnect to continue"),
    Reason.STOPPING: N_("the server is shutting down; reconnect later"),
    Reason.IDLE: N_("the session was closed after a period of inactivity; reconnect to continue"),
    Reason.TOO_OLD: N_("the session reached its maximum duration; reconnect to continue"),
    Reason.KEY_WITHDRAWN: N_("your key is no longer authorized; contact the server's operator"),
    Reason.REMOVED: N_("the server's operator closed the session; contact them before you reconnect"),
}

_LOSSES: Final = {  # of a session that is continued in another one
    Reason.LEAVING: N_("the server closed the session; reconnecting"),
    Reason.STOPPING: N_("the server is shutting down; reconnecting"),
    Reason.IDLE: N_("the session was closed after a period of inactivity; your next message reconnects"),
}


def of_fault(fault: Fault, *, has_begun: bool) -> str:
    """Why a reply failed; `has_begun` if part of it has been shown, or for LIMIT_REACHED the server's own text."""
    if has_begun and fault not in (Fault.CANCELLED, Fault.LIMIT_REACHED):
        return _("the reply is incomplete: {reason}").format(reason=_(_FAULTS[fault]))
    return _(_FAULTS[fault])


def of_goodbye(reason: Reason) -> str:
    """Why the server ended the session."""
    return _(_REASONS[reason])


def of_loss(reason: SecureChatError | GoodbyeReceived | None) -> str:
    """Why a session ended that is continued in another one; empty if this is nothing to tell."""
    if isinstance(reason, GoodbyeReceived):
        return _(_LOSSES[reason.reason]) if reason.reason in _LOSSES else ""
    return _("{problem}; reconnecting").format(problem=reason) if reason is not None else ""


def of_failed_connection(error: Exception, destination: Destination) -> str:
    """Why the connection could not be established."""
    match error:
        case _ if isinstance(error, DNSLookupError) or _number(error) < 0:  # the numbers of getaddrinfo's errors
            text = _("{name}: could not resolve hostname; check the spelling and the network")
        case ConnectionRefusedError():
            text = _("{name}: connection refused; check the port, and that the server is running")
        case TimeoutError():
            text = _("{name}: connection timed out; check the address and the network")
        case NoRouteError():
            text = _("{name}: no route to host; check the address and the network")
        case _ if destination.lacks_zone:
            text = _("{name}: {problem}; add the network interface of the address, as in [fe80::1%eth0]:8080")
        case _:
            text = _("{name}: {problem}; check the address and the network")
    return text.format(name=destination.local_name, problem=_in_words(error))


def _number(error: Exception) -> int:
    """The errno of an error; 0 if it has none."""
    number = getattr(error, "osError", None) or getattr(error, "errno", None)
    return number if isinstance(number, int) else 0


def _in_words(error: Exception) -> str:
    """The problem alone, without its number."""
    return os.strerror(_number(error)) if _number(error) else str(error)


def of_denial(name: str, fingerprints: Sequence[str]) -> str:
    """Why the server may have closed the connection after the client's proof: it does not say (protocol, section 12).

    `fingerprints` are those of the keys that were offered, each in a connection of its own.
    """
    match fingerprints:
        case []:
            text = _(
                "{name}: Permission denied; the server is not configured for this name, has reached its limit of "
                "sessions, or requires a key: use -i FILE or --agent"
            )
        case [_one]:
            text = _(
                "{name}: Permission denied; your key {keys} is not authorized, "
                "or the server is not configured for this name or has reached its limit of sessions"
            )
        case _:
            text = _(
                "{name}: Permission denied; none of your keys {keys} is authorized, "
                "or the server is not configured for this name or has reached its limit of sessions"
            )
    return text.format(name=name, keys=_(", ").join(fingerprints))
