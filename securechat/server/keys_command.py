"""``--authorized-keys-command``: a program that looks up keys, as sshd's AuthorizedKeysCommand does."""

import os
import shlex
import stat
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.errors import ConfigurationError
from securechat.files import OTHERS_WRITE
from securechat.i18n import _, in_english
from securechat.ssh import keys
from securechat.ssh.authorized_keys import AuthorizedKeys, Entry
from securechat.ssh.certificates import CERTIFICATE_TYPE, Certificate
from securechat.wire.messages import MAX_ABOUT

log = Logger()

TIME_LIMIT: Final = 10.0  # seconds for a program to print the keys and to exit; less than a client has for its PROOF
MAX_OUTPUT: Final = 64 * 1024  # bytes
MAX_PROGRAMS: Final = 8  # that run at the same time; further handshakes wait for their turn
ENVIRON: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}  # nothing of ours: it may contain keys
DEFAULT_ARGUMENTS: Final = ("%t", "%k")


class IProgramReactor(IReactorProcess, IReactorTime):
    """The reactor's interfaces that a program needs."""


class KeysCommand:
    """Runs the program for the key of each client that has proved to own it. There is no shell."""

    def __init__(self, command: str, reactor: IProgramReactor) -> None:
        """`command` is the absolute path of a program with arguments, in the quotes of a shell.

        In the arguments, ``%k`` stands for the key or the certificate in base64, ``%t`` for its type, ``%f`` for the
        key's fingerprint, and ``%%`` for a percent sign; without arguments, the program is given ``%t %k``.
        ConfigurationError if it cannot be used.
        """
        try:
            program, *arguments = shlex.split(command)
        except ValueError:
            raise ConfigurationError(_("--authorized-keys-command: expected a program with arguments")) from None
        self._program = Path(program)
        self._arguments = arguments or DEFAULT_ARGUMENTS
        self._reactor = reactor
        self._places = DeferredSemaphore(MAX_PROGRAMS)
        check_program(self._program)

    def look_up(self, blob: bytes, certificate: Certificate | None = None) -> Deferred[Entry | None]:
        """What applies to a user by the lines that the program prints; None if nothing does, or the program fails.

        Cancelling the Deferred kills the program.
        """
        return self._places.run(self._run, blob, certificate)

    def _run(self, blob: bytes, certificate: Certificate | None) -> Deferred[Entry | None]:
        try:
            with in_english():
                check_program(self._program)
            output = _Output(self._reactor)
            tokens = _tokens(blob, certificate)
            arguments = (str(self._program), *(_expand(argument, tokens) for argument in self._arguments))
            self._reactor.spawnProcess(output, str(self._program), arguments, ENVIRON, "/")
        except (ConfigurationError, OSError) as error:
            return fail(error).addErrback(self._refuse)
        return output.done.addCallback(self._parse, blob, certificate).addErrback(self._refuse)

    def _parse(self, data: bytes, blob: bytes, certificate: Certificate | None) -> Entry | None:
        with in_english():
            return AuthorizedKeys.parse(data, self._program, max_name=MAX_ABOUT).entry_of(blob, certificate)

    @staticmethod
    def _refuse(failure: Failure) -> None:
        if failure.check(CancelledError):
            failure.raiseException()
        log.error("authorized-keys-command: {problem}; refusing the key", problem=failure.getErrorMessage())


def check_program(path: Path) -> None:
    """ConfigurationError if a program cannot be run, or if others than root and this user can replace it."""
    if not path.is_absolute():
        raise ConfigurationError(_("--authorized-keys-command {path}: expected an absolute path").format(path=path))
    try:
        real = path.resolve(strict=True)
        if not real.is_file() or not os.access(real, os.X_OK):
            raise ConfigurationError(_("{path}: not an executable file").format(path=path))
        for part in (real, *real.parents, *path.parents):
            status = part.stat()
            if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & OTHERS_WRITE:
                text = _("{path}: only root and the daemon's user may be able to write to it")
                raise ConfigurationError(text.format(path=part))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def _tokens(blob: bytes, certificate: Certificate | None) -> dict[str, str]:
    """What the tokens in an argument stand for."""
    shown, kind = (blob, keys.KEY_TYPE) if certificate is None else (certificate.blob, CERTIFICATE_TYPE)
    return {"%": "%", "k": b64encode(shown).decode(), "t": kind.decode(), "f": keys.fingerprint(blob)}


def _expand(argument: str, tokens: dict[str, str]) -> str:
    """An argument with the tokens of sshd_config(5); unknown ones remain."""
    first, *parts = argument.replace("%%", "\0").split("%")
    return (first + "".join(tokens.get(part[:1], "%" + part[:1]) + part[1:] for part in parts)).replace("\0", "%")


class _Output(ProcessProtocol):
    """What a program prints to its standard output, up to a limit in size and time."""

    transport: IProcessTransport
    _limit: IDelayedCall  # from `connectionMade` on

    def __init__(self, reactor: IReactorTime) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _done: self._kill())  # fires when the program has exited with 0
        self._reactor = reactor
        self._output = bytearray()

    def connectionMade(self) -> None:
        self._limit = self._reactor.callLater(TIME_LIMIT, self._fail, f"it did not exit within {TIME_LIMIT:g} seconds")
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._output += data
        if len(self._output) > MAX_OUTPUT:
            self._fail(f"its output is larger than {MAX_OUTPUT} bytes")

    def processEnded(self, reason: Failure) -> None:
        if self.done.called:
            return
        self._limit.cancel()
        if reason.check(ProcessDone):
            self.done.callback(bytes(self._output))
        else:
            status = getattr(reason.value, "exitCode", None)
            ended = "a signal ended it" if status is None else f"it exited with status {status}"
            self.done.errback(ChildProcessError(ended))

    def _fail(self, problem: str) -> None:
        if not self.done.called:
            self._kill()
            self.done.errback(ChildProcessError(problem))

    def _kill(self) -> None:
        """Forget the program. Its end is not waited for: another process may hold its output."""
        if self._limit.active():
            self._limit.cancel()
        self._output.clear()
        self.transport.loseConnection()
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")
