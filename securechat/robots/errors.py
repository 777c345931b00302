"""Every way in which a robot fails, as the one kind of error that the others know."""

from securechat.errors import Fault, RobotError
from securechat.i18n import _


def robot_error(error: Exception) -> RobotError:
    """`error` itself, or what a robot's own bug is to everybody else.

    A bug's text may hold what the user said: its type and its place say enough.
    """
    if isinstance(error, RobotError):
        return error
    return RobotError(Fault.INTERNAL, _("{error} at {place}").format(error=type(error).__name__, place=_place(error)))


def _place(error: Exception) -> str:
    """File and line where an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
