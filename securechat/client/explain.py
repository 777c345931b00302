"""What went wrong, in one sentence: what it is, what the user can do, and whether trying again helps."""

from typing import Final

from twisted.internet.error import ConnectionRefusedError, DNSLookupError, NoRouteError, TimeoutError

from securechat.client.destination import Destination
from securechat.errors import Fault
from securechat.i18n import N_, _
from securechat.wire.messages import Reason

_FAULTS: Final = {
    Fault.UNREACHABLE: N_("the robot cannot be reached; try again in a while"),
    Fault.REFUSED: N_(
        "the robot refused; say it in another way, and if it refuses everything, tell the server's operator"
    ),
    Fault.TOO_LONG: N_("the reply, or the conversation, is too long for the robot; say less, or start afresh"),
    Fault.TIMED_OUT: N_("the robot took too long; try again"),
    Fault.BROKEN_ANSWER: N_("the robot's answer could not be understood; try again, or tell the server's operator"),
    Fault.BUSY: N_("the robot has too much to do, or its quota is used up; try again later"),
    Fault.CANCELLED: N_("the reply was cancelled"),
    Fault.TOO_MANY_MESSAGES: N_("too many messages at once; wait for the replies, then try again"),
    Fault.INTERNAL: N_("something is broken in the server; trying again may not help, tell its operator"),
}

_REASONS: Final = {
    Reason.LEAVING: N_("the server ended the session; connect again to go on"),
    Reason.STOPPING: N_("the server is being stopped; connect again in a while"),
    Reason.IDLE: N_("the server ended the session because nothing was said for long; connect again to go on"),
    Reason.TOO_OLD: N_("the session has lasted as long as it may; connect again to go on"),
    Reason.KEY_WITHDRAWN: N_("the server's operator has withdrawn your key; connecting again will not help"),
    Reason.REMOVED: N_("the server's operator has ended the session; ask why before you connect again"),
}


def of_fault(fault: Fault, *, has_begun: bool) -> str:
    """Why there is no reply, or no more of it than what has been shown."""
    if has_begun and fault is not Fault.CANCELLED:
        return _("the reply is cut here: {reason}").format(reason=_(_FAULTS[fault]))
    return _(_FAULTS[fault])


def of_goodbye(reason: Reason) -> str:
    """Why the session is over."""
    return _(_REASONS[reason])


def of_failed_connection(error: Exception, destination: Destination) -> str:
    """Why there is no connection."""
    match error:
        case DNSLookupError():
            text = _("{name}: host not found; check how it is written, and the network")
        case ConnectionRefusedError():
            text = _("{name}: connection refused; check the port, and whether the server runs")
        case TimeoutError():
            text = _("{name}: no answer in time; check the address and the network, then try again")
        case NoRouteError():
            text = _("{name}: no way to this network; check the network, then try again")
        case _:
            text = _("{name}: {problem}; check the address and the network")
    problem = getattr(error, "osError", None) or error
    return text.format(name=destination.name, problem=problem)
