"""The questions to the user, in a process that has a terminal of its own."""

import signal
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.ssh import keys
from tests.harness.daemon import ENVIRON
from tests.harness.pair import HOST_KEY, USER_KEY
from tests.harness.terminal import Terminal

TIMEOUT = 60  # seconds
NAME = "[chat.example.org]:8080"
FINGERPRINT = keys.fingerprint(HOST_KEY.blob)
OTHER = keys.fingerprint(USER_KEY.blob)
QUESTION = "(yes/no/"
AGAIN = "Please type"
END = "\x04"  # Ctrl-D

YES = ("yes", "YES", "Yes", " yes ", FINGERPRINT, FINGERPRINT + "=", f"  {FINGERPRINT}\t")
NO = ("no", "NO", " No ")
NEITHER = (  # ssh asks again, and so does the client
    *("", " ", "y", "Y", "n", "ye", "yes!", "yess", "ok", "true", "1", "ja", "=", "yes=", "yes no", "nope"),
    *(OTHER, OTHER + "=", FINGERPRINT.lower(), FINGERPRINT[:-1], FINGERPRINT + "x", "=" + FINGERPRINT),
    *(FINGERPRINT.removeprefix("SHA256:"), "SHA256:", f"{FINGERPRINT} {OTHER}", f"yes {FINGERPRINT}"),
)

PROLOGUE = """
import signal, sys
from pathlib import Path
from securechat.client.prompts import ask_passphrase, can_ask, confirm_host_key
signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT)
for number in signals: signal.signal(number, signal.SIG_DFL)  # one may be ignored in a shell's background
before = [signal.getsignal(number) for number in signals]
blob = bytes.fromhex(sys.argv[1])
"""
CONFIRM = "for _question in range(int(sys.argv[2])): print('answer:', confirm_host_key(sys.argv[3], blob), flush=True)"
PASSPHRASE = """
for _question in range(int(sys.argv[2])):
    try: print('passphrase', ask_passphrase(Path(sys.argv[3])).hex() + '.', flush=True)
    except Exception as error: print('error:', error, flush=True)
"""
RESTORED = "print('restored:', [signal.getsignal(number) for number in signals] == before, flush=True)"


class PromptTestCase(SynchronousTestCase):
    def start(self, script: str, *arguments: str, redirect: str = "") -> Terminal:
        """Run a script on a terminal, whose standard streams a shell may redirect."""
        program = [sys.executable, "-c", f"{PROLOGUE}\n{script}\n{RESTORED}", HOST_KEY.blob.hex(), *arguments]
        # With streams that are redirected, the shell keeps the terminal open: one that nobody has open is gone.
        shell = f'"$@" {redirect}; exit $?' if redirect else 'exec "$@"'
        terminal = Terminal(["/bin/sh", "-c", shell, "sh", *program], {**ENVIRON, "TERM": "xterm"}, TIMEOUT)
        self.addCleanup(terminal.kill)
        return terminal

    def end(self, terminal: Terminal) -> str:
        """Wait for the end of the script; the screen."""
        self.assertTrue(terminal.is_echoing)
        self.assertEqual(terminal.close(), 0, terminal.screen)
        return terminal.screen


class ConfirmTests(PromptTestCase):
    """The question about an unknown host key."""

    def test_answers(self) -> None:
        """The word yes or the key's own fingerprint accepts the key, no rejects it; anything else is asked again."""
        clear = [*((answer, True) for answer in YES), *((answer, False) for answer in NO)]
        terminal = self.start(CONFIRM, str(len(clear) + len(NEITHER)), NAME)
        for answer, accepted in clear:
            terminal.wait_for(QUESTION)
            terminal.type(answer + "\r")
            terminal.wait_for(f"answer: {accepted}")
        for number, answer in enumerate(NEITHER):
            terminal.wait_for(QUESTION)
            terminal.type(answer + "\r")
            terminal.wait_for(AGAIN)
            terminal.type(answer + "\r")
            terminal.wait_for(AGAIN)
            terminal.type("yes\r" if number % 2 else "no\r")
            terminal.wait_for(f"answer: {bool(number % 2)}")
        terminal.wait_for("restored: True")
        self.end(terminal)

    def test_end(self) -> None:
        """The end of the input rejects the key, also after an unclear answer."""
        terminal = self.start(CONFIRM, "2", NAME)
        for answer in "", "maybe\r":
            terminal.wait_for(QUESTION)
            if answer:
                terminal.type(answer)
                terminal.wait_for(AGAIN)
            terminal.type(END)
            terminal.wait_for("answer: False")
        terminal.wait_for("restored: True")
        self.end(terminal)

    def test_question(self) -> None:
        """The user sees the name and the fingerprint before the question, without control characters in a name."""
        terminal = self.start(CONFIRM, "1", "[x\x1b[2J\x9b\u202e\n]:1")
        terminal.wait_for("The authenticity of host '[x\ufffd[2J\ufffd\ufffd\ufffd]:1'")
        terminal.wait_for(FINGERPRINT)
        terminal.wait_for(QUESTION)
        terminal.type("no\r")
        terminal.wait_for("answer: False")
        terminal.wait_for("restored: True")
        self.assertNotIn("\x1b", self.end(terminal))

    def test_redirected(self) -> None:
        """The terminal is asked, whatever the standard streams are; they get nothing of it."""
        files = [Path(self.mktemp()).absolute() for _stream in range(3)]
        files[0].write_text("no\nno\n")
        terminal = self.start(CONFIRM, "1", NAME, redirect=f"< {files[0]} > {files[1]} 2> {files[2]}")
        terminal.wait_for(QUESTION)
        terminal.type("yes\r")
        self.assertEqual(terminal.close(), 0)
        self.assertEqual(files[1].read_text(), "answer: True\nrestored: True\n")
        self.assertEqual(files[2].read_text(), "")

    def test_ignoredSignal(self) -> None:
        """A signal that is ignored, as with nohup, does not end the question."""
        terminal = self.start(f"signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{CONFIRM}", "1", NAME)
        terminal.wait_for(QUESTION)
        terminal.signal(signal.SIGHUP)
        terminal.type("yes\r")
        terminal.wait_for("answer: True")
        terminal.wait_for("restored: False")  # the script itself has changed it
        self.end(terminal)

    def test_canAsk(self) -> None:
        """There is a user to ask if there is a terminal, whatever the standard streams are."""
        terminal = self.start("sys.exit(not can_ask())", redirect="< /dev/null > /dev/null 2>&1")
        self.assertEqual(terminal.close(), 0)


class PassphraseTests(PromptTestCase):
    """The passphrase of a key."""

    def ask(self, *steps: tuple[str, str, str], path: str = "/keys/mine") -> str:
        """Answer each question, and wait for words; the screen."""
        terminal = self.start(PASSPHRASE, str(len(steps)), path)
        for question, answer, words in steps:
            terminal.wait_for(question)
            self.assertFalse(terminal.is_echoing)
            terminal.type(answer)
            terminal.wait_for(words)
        terminal.wait_for("restored: True")
        return self.end(terminal)

    def test_answers(self) -> None:
        """It is what was typed, without the end of its line, and it is not displayed; the file is named."""
        mine = "Enter passphrase for key '/keys/mine': "
        screen = self.ask(
            *(
                (mine, f"{words}\r", f"passphrase {words.encode().hex()}.")
                for words in ("correct horse", " batt\u00e9ry ")
            ),
            (mine, "\r", "passphrase ."),
            (mine, END, "error: /keys/mine: "),
        )
        for word in ("horse", "batt"):
            self.assertNotIn(word, screen)

    def test_controlCharacters(self) -> None:
        """Control characters in the file's name do not reach the terminal."""
        screen = self.ask(("Enter passphrase", "x\r", "passphrase 78."), path="/k\x1b[2J\x9b\n")
        self.assertNotIn("\x1b", screen)
        self.assertIn("'/k\ufffd[2J\ufffd\ufffd'", screen)

    def test_interrupted(self) -> None:
        """After Ctrl-C the terminal displays what is typed again."""
        script = "try: ask_passphrase(Path('x'))\nexcept KeyboardInterrupt as error: print('by', error, flush=True)"
        terminal = self.start(script)
        terminal.wait_for("Enter passphrase")
        terminal.type("secr\x03")
        terminal.wait_for(f"by {int(signal.SIGINT)}")
        terminal.wait_for("restored: True")
        self.assertNotIn("secr", self.end(terminal))

    def test_typedAhead(self) -> None:
        """What was typed before the question is dropped: it was displayed."""
        script = "print('working', flush=True); sys.stdin.read(0); import time; time.sleep(0.5)\n" + PASSPHRASE
        terminal = self.start(script, "1", "x")
        terminal.wait_for("working")
        terminal.type("early\r")
        terminal.wait_for("Enter passphrase")
        terminal.type("late\r")
        terminal.wait_for(f"passphrase {b'late'.hex()}.")
        terminal.wait_for("restored: True")
        self.end(terminal)
