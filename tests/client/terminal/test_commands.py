"""Commands, and text that only looks like one."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal.commands import COMMANDS, Command, UnknownCommandError, completions, help_lines, parse


class ParseTests(SynchronousTestCase):
    """What the user enters."""

    def test_commands(self) -> None:
        """A slash and a word on a line of their own are a command, in upper or lower case, with its argument."""
        for text, command in (
            ("/help", Command("help")),
            (" /NEW \n", Command("new")),
            ("/?", Command("help")),
            ("/exit", Command("quit")),
            ("/copy", Command("copy")),
            ("/copy 2", Command("copy", "2")),
            ("/save  my file.md ", Command("save", "my file.md")),
        ):
            self.assertEqual(parse(text), command)

    def test_messages(self) -> None:
        """Paths, text of several lines and text after two slashes go to the robot."""
        for text in ("hello", "/usr/bin/x: not found", "/ is the root", "/new\nline", "a /new", "/etc/passwd", "/x.py"):
            self.assertEqual(parse(text), text)
        self.assertEqual(parse("//new"), "/new")
        self.assertEqual(parse("//usr/bin"), "/usr/bin")
        self.assertEqual(parse("\n  indented\n"), "  indented")

    def test_unknown(self) -> None:
        """A word that is no command, and an argument that a command does not take, are explained."""
        for text, words in (
            ("/frobnicate", "/frobnicate: unknown command; see /help"),
            ("/hlep", "did you mean /help?"),
            ("/new topic", "/new takes no argument"),
            ("/copy all", r"/copy takes \[N\]"),
            ("/copy 0", r"/copy takes \[N\]"),
            ("/save", "usage: /save NAME.FILE"),
        ):
            with self.assertRaisesRegex(UnknownCommandError, words):
                parse(text)

    def test_completions(self) -> None:
        """Commands are completed, and other text is not."""
        self.assertEqual(completions("/he"), ["/help"])
        self.assertEqual(completions("/"), [f"/{name}" for name in COMMANDS])
        for text in ("", "he", "/help me", "//"):
            self.assertEqual(completions(text), [])

    def test_help(self) -> None:
        """Each command has a line."""
        for name, line in zip(COMMANDS, help_lines(), strict=True):
            self.assertTrue(line.startswith(f"/{name}"))
