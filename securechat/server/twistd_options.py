"""What twistd's own options mean for the daemon: the log, its user, and the PID file."""

import os
import pwd
from pathlib import Path
from typing import Final

from twisted.python import usage

from securechat.i18n import _
from securechat.server.log_file import LogFile
from securechat.server.log_format import json_of, line_of
from securechat.server.settings import LogFormat
from securechat.server.stale_files import remove_stale_pid_file

LINES: Final = {LogFormat.TEXT: line_of, LogFormat.JSON: json_of}


def make_log_file(twistd: usage.Options, log_format: LogFormat) -> LogFile | None:
    """The log, where twistd's options say; None if they choose another observer."""
    if twistd.get("logger") or twistd.get("syslog"):
        if log_format is not LogFormat.TEXT:
            text = _("--log-format {value} cannot be used with twistd's --logger and --syslog")
            raise usage.UsageError(text.format(value=log_format.value))
        return None
    in_foreground = twistd.get("nodaemon") or twistd.get("debug")
    name = twistd.get("logfile") or ("-" if in_foreground else "twistd.log")
    if name == "-" and not in_foreground:
        raise usage.UsageError(_("--logfile -: a daemon has no standard output; use twistd -n"))
    return LogFile(None if name == "-" else Path(name).absolute(), LINES[log_format])


def check_user(twistd: usage.Options) -> None:
    """UsageError if twistd's option --uid has a number without a user, whose groups twistd could not look up."""
    uid = twistd.get("uid")
    try:
        if uid is not None:
            pwd.getpwuid(uid)
    except KeyError:
        raise usage.UsageError(_("--uid {uid}: no such user").format(uid=uid)) from None


def prepare_pid_file(twistd: usage.Options) -> None:
    """Remove a PID file that keeps twistd from starting; do without one in the foreground if it cannot be written."""
    if not twistd.get("pidfile"):
        return
    path = Path(twistd["pidfile"])
    remove_stale_pid_file(path)
    if twistd["nodaemon"] and not os.access(path if path.exists() else path.parent, os.W_OK):
        twistd["pidfile"] = ""
