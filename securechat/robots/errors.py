"""Any exception of a robot as a RobotError."""

from securechat.errors import Fault, RobotError


class UnansweredError(RobotError):
    """The robot's server closed the connection without a single byte of a response to the request."""


def robot_error(error: Exception) -> RobotError:
    """`error` itself if it is a RobotError; otherwise an internal fault with its type and the place it was raised.

    The text of an unexpected exception is left out, because it may contain what the user wrote.
    """
    if isinstance(error, RobotError):
        return error
    return RobotError(Fault.INTERNAL, f"{type(error).__name__} at {_place(error)}")


def forget_frames(error: BaseException) -> None:
    """Let go of the frames through which an error and those behind it were raised, once it has been dealt with.

    They contain what was asked, and some of them the error itself. So all of it would stay until garbage is collected.
    """
    current: BaseException | None = error
    while current is not None:
        following = current.__context__
        current.__traceback__ = current.__context__ = None
        current = following


def _place(error: Exception) -> str:
    """File and line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
