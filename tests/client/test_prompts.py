"""Questions to the user."""

import io
import os
import signal
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.prompts import ask_passphrase, can_ask, confirm_host_key
from securechat.errors import ConfigurationError
from securechat.ssh import keys
from tests.harness.pair import HOST_KEY, USER_KEY

NAME = "[chat.example.org]:8080"
FINGERPRINT = keys.fingerprint(HOST_KEY.blob)
OTHER = keys.fingerprint(USER_KEY.blob)

YES = ("yes", "YES", "Yes", " yes ", FINGERPRINT, FINGERPRINT + "=", f"  {FINGERPRINT}\t")
NO = ("no", "NO", " No ")
NEITHER = (  # ssh asks again, and so does the client
    *("", " ", "y", "Y", "n", "ye", "yes!", "yess", "ok", "true", "1", "\x1b", "ja", "=", "yes=", "yes no"),
    *(OTHER, OTHER + "=", FINGERPRINT.lower(), FINGERPRINT[:-1], FINGERPRINT + "x", "=" + FINGERPRINT),
    *(FINGERPRINT.removeprefix("SHA256:"), "SHA256:", f"{FINGERPRINT} {OTHER}", f"yes {FINGERPRINT}"),
)


class Keyboard(io.StringIO):
    """A terminal on which a user has typed something."""

    def isatty(self) -> bool:
        return True


class Interrupting(Keyboard):
    """A user who presses Ctrl-C."""

    def readline(self, size: int | None = -1, /) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "yes\n"


class PromptTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.errors, self.output = Keyboard(), Keyboard()
        self.patch(sys, "stderr", self.errors)
        self.patch(sys, "stdout", self.output)

    def type(self, *lines: str) -> None:
        self.patch(sys, "stdin", Keyboard("".join(f"{line}\n" for line in lines)))


class ConfirmTests(PromptTestCase):
    """The question about an unknown host key."""

    def confirm(self, *lines: str) -> bool:
        self.type(*lines)
        return confirm_host_key(NAME, HOST_KEY.blob)

    def test_yes(self) -> None:
        """"yes" and the key's own fingerprint accept the key."""
        for answer in YES:
            self.assertIs(self.confirm(answer, "no"), True, answer)

    def test_no(self) -> None:
        """"no" rejects the key."""
        for answer in NO:
            self.assertIs(self.confirm(answer, "yes"), False, answer)

    def test_neither(self) -> None:
        """Any other answer, also an empty one or another key's fingerprint, is asked again until one is clear."""
        for answer in NEITHER:
            self.assertIs(self.confirm(answer, answer, "no", "yes"), False, repr(answer))
            self.assertIs(self.confirm(answer, answer, "yes", "no"), True, repr(answer))

    def test_end(self) -> None:
        """The end of the input rejects the key, also after an unclear answer or one without its newline."""
        self.assertIs(self.confirm(), False)
        self.assertIs(self.confirm("maybe"), False)
        self.patch(sys, "stdin", Keyboard("ye"))
        self.assertIs(confirm_host_key(NAME, HOST_KEY.blob), False)

    def test_question(self) -> None:
        """The user sees the server's name and the fingerprint before he is asked, on standard error only."""
        self.confirm("what?", "no")
        text = self.errors.getvalue()
        first, again = (text.index(words) for words in ("(yes/no/", "'yes'"))
        self.assertLess(max(text.index(NAME), text.index(FINGERPRINT)), first)
        self.assertLess(first, again)
        self.assertEqual(text.count("(yes/no/"), 1)
        self.assertEqual(self.output.getvalue(), "")
        self.assertFalse(text.endswith("\n"))

    def test_controlCharacters(self) -> None:
        """Control characters in a name do not reach the terminal."""
        self.type("no")
        confirm_host_key("[x\x1b[2J\x9b\u202e]:1", HOST_KEY.blob)
        self.assertEqual([letter for letter in self.errors.getvalue() if not letter.isprintable() and letter != "\n"], [])

    def test_interrupted(self) -> None:
        """Ctrl-C ends the program instead of answering, and the signal's handler is restored."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.patch(sys, "stdin", Interrupting())
        self.assertRaises(KeyboardInterrupt, confirm_host_key, NAME, HOST_KEY.blob)
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        self.confirm("yes")
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)


class CanAskTests(PromptTestCase):
    """Whether there is a user to ask."""

    def test_terminals(self) -> None:
        """There is one if standard input and standard error are both a terminal, whatever standard output is."""
        for stdin, stderr, expected in (
            (Keyboard(), Keyboard(), True),
            (io.StringIO(), Keyboard(), False),
            (Keyboard(), io.StringIO(), False),
            (io.StringIO(), io.StringIO(), False),
            (None, Keyboard(), False),
            (Keyboard(), None, False),
        ):
            self.patch(sys, "stdin", stdin)
            self.patch(sys, "stderr", stderr)
            for stdout in (Keyboard(), io.StringIO(), None):
                self.patch(sys, "stdout", stdout)
                self.assertIs(can_ask(), expected)

    def test_noTerminal(self) -> None:
        """Without a terminal, a passphrase is not asked for, and the message names the file and the alternative."""
        self.patch(sys, "stdin", io.StringIO("secret\n"))
        error = self.assertRaises(ConfigurationError, ask_passphrase, Path("/keys/mine"))
        self.assertIn("/keys/mine: ", str(error))
        self.assertIn("--agent", str(error))
        self.assertEqual(self.errors.getvalue(), "")
