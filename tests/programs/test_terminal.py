"""The client on a pseudo-terminal, as an emulated screen displays it."""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from securechat.client.terminal.commands import COMMANDS
from securechat.client.terminal.markdown import Styler
from securechat.client.terminal.styles import plain, width
from securechat.server.admission import Holder
from securechat.server.message_memory import SHARES, MessageMemory
from securechat.wire.events import ClientProved, MessageReceived
from securechat.wire.handshake import ServerHandshake
from securechat.wire.messages import About
from securechat.wire.server_connection import ServerConnection
from tests.client.terminal.test_markdown import CORPUS
from tests.client.test_terminal import HOSTILE
from tests.harness import openai_peer
from tests.harness.daemon import ENVIRON, Daemon, reactor
from tests.harness.openai_peer import OpenAIPeer, Step, good, says, stream
from tests.harness.pair import identity
from tests.harness.terminal import COLUMNS, Terminal
from tests.programs.test_client import ProgramTestCase, Server

TIMEOUT = 60  # seconds
READY = "/help "
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"
LEFT = "\x1b[D"
PASTE, PASTED = "\x1b[200~", "\x1b[201~"
ROWS = [f"row {number} of what a robot says, one after the other" for number in range(200)]
SEQUENCES = re.compile(r"\x1b\[(?:[\d;]*[mABCDJK]|\?(?:1|7|12|25|2004)[hl])")  # of our styles, and of the prompt


def apart(text: str, size: int, seconds: float) -> list[Step]:
    """A reply that arrives in pieces."""
    steps: list[Step] = []
    for start in range(0, len(text), size):
        steps += [*says(text[start : start + size]), seconds]
    return [*steps, *good("")]


SCRIPTS: dict[str, Callable[[], openai_peer.Script]] = {
    "corpus": lambda: stream(*apart(CORPUS, 5, 0.001)),
    "rows": lambda: stream(*apart("\n".join(ROWS), 100, 0.01)),
    "endless": lambda: stream(*apart("never ends\n" * 10_000, 11, 0.02)),
    "hostile": lambda: stream(*good("\n".join(HOSTILE))),
    "hostile code": lambda: stream(*good("```python\n{}\n'''{}\n```".format("\n".join(HOSTILE), "\n".join(HOSTILE)))),
}
# What a server says of itself and of the user; each has at most 64 bytes.
HOSTILE_NAMES = "".join(HOSTILE[:5]), "".join(HOSTILE[5:-2]), "".join(HOSTILE[-2:])[:20]


class HostileServer(Protocol):
    """A server whose names are hostile."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        name = f"[127.0.0.1]:{cast(IPv4Address, self.transport.getHost()).port}"
        self.end = ServerConnection(ServerHandshake(identity(), frozenset({name})), time.monotonic)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        for event in self.end.receive_data(data):
            if isinstance(event, ClientProved):
                quota = MessageMemory(SHARES * 2**20).quota(Holder("client"))
                self.end.admit(About(*HOSTILE_NAMES, 4096, api=False, shaping=0, tick=100, width=1), quota)
            elif isinstance(event, MessageReceived):
                self.end.reply(event.id, b"hello", last=True)
        self.transport.write(self.end.data_to_send())


class TerminalTestCase(ProgramTestCase):
    """A daemon with a language model, and a user at a terminal."""

    def listen_peer(self) -> None:
        """A language model that follows the scripts; `options` are those of a daemon that asks it."""
        scripts = patch.dict(openai_peer.SCRIPTS, SCRIPTS)
        scripts.start()
        self.addCleanup(scripts.stop)
        self.peer = OpenAIPeer(reactor)
        port = reactor.listenTCP(0, self.peer, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"url=http://127.0.0.1:{port.getHost().port}"
        self.options = ("--robot", "openai", "-R", url, "-R", "model=peer-model")

    async def start_peer(self) -> Daemon:
        """A daemon with a language model that follows the scripts."""
        self.listen_peer()
        return await self.start(*self.options)

    def use(
        self,
        server: Server,
        scenario: Callable[[Terminal], object],
        *shell: str,
        options: tuple[str, ...] = (),
        **environ: str,
    ) -> "Deferred[Any]":
        """Run a scenario with the client at a terminal; the status, or the screen if there is a shell."""
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        self.command = [sys.executable, "-m", "securechat.client", *self.to(server), *options]
        before = {"TERM": "xterm-256color", "XTERM_VERSION": "pyte", "HOME": str(home), **ENVIRON}
        before.pop("NO_COLOR", None)

        def run() -> int:
            terminal = Terminal([*(shell or self.command)], {**before, "HOME": str(home), **environ}, TIMEOUT)
            try:
                if not shell:
                    terminal.wait_for(READY)
                    terminal.wait_until(">")
                scenario(terminal)
                return terminal.close()
            finally:
                terminal.kill()

        return deferToThread(run)


class TerminalTests(TerminalTestCase):
    """A user at a terminal."""

    async def test_reply(self) -> None:
        """A reply in Markdown is displayed as when it comes in one piece, and blank lines stay."""
        daemon = await self.start_peer()
        styler = Styler()
        rows = [plain(row).rstrip() for row in (*styler.feed(CORPUS, COLUMNS - 1), *styler.end(COLUMNS - 1))]

        def scenario(terminal: Terminal) -> None:
            terminal.type("corpus\r")
            terminal.wait_for("The end\r\n")
            while terminal.lines[-2:] != ["", ">"]:  # until the end of the reply has come
                terminal.read_for(0.05)
            terminal.type("/quit\r")
            terminal.wait_for("> \x1b[0m\x1b[1m/quit")
            start = terminal.lines.index("> corpus")
            lines = terminal.lines[start:]
            self.assertEqual(lines[: len(rows) + 4], ["> corpus", "openai", *rows, "", "> /quit"])

        self.assertEqual(await self.use(daemon, scenario), 0)

    async def test_stops(self) -> None:
        """Ctrl-C stops the reply and keeps the draft; the conversation goes on."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("endless\r")
            terminal.wait_for("never ends\r\n")
            terminal.type("hello")
            terminal.wait_until("> hello")
            terminal.type(CTRL_C)
            terminal.wait_for("the reply was cancelled")
            terminal.wait_until("> hello")
            terminal.type("\r")
            terminal.wait_for("\r\nhello\r\n")
            terminal.type(CTRL_C)
            terminal.wait_for("press Ctrl-C again")
            terminal.type(CTRL_C)

        self.assertEqual(await self.use(daemon, scenario), 130)

    async def test_queue(self) -> None:
        """What is sent while a reply streams is shown as queued, and then above its own reply."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("rows\r")
            terminal.wait_for("row 1 ")
            terminal.type("hello\r")
            terminal.wait_for("-- queued: hello")
            terminal.wait_for("\r\nhello\r\n")
            terminal.type(CTRL_D)
            terminal.read_for(0.5)
            lines = terminal.lines
            place = lines.index("> hello")
            self.assertEqual(lines[place - 2 : place + 3], [ROWS[-1], "", "> hello", "openai", "hello"])
            self.assertEqual([line for line in lines if line.startswith("row")], ROWS)

        self.assertEqual(await self.use(daemon, scenario), 0)

    async def test_chinese(self) -> None:
        """Chinese text is edited in the middle while a reply streams, and arrives as it is displayed."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("rows\r")
            terminal.wait_for("row 1 ")
            for keys, line in (
                ("你好世", "你好世"),
                (LEFT * 2 + "，", "你，好世"),
                ("\x7f们", "你们好世"),
                ("\x05界", "你们好世界"),
            ):
                terminal.type(keys)
                terminal.wait_until(f"> {line}")
            terminal.type("\r")
            terminal.wait_for("\r\n你们好世界\r\n")
            terminal.type(CTRL_D)

        self.assertEqual(await self.use(daemon, scenario), 0)

    async def test_resizes(self) -> None:
        """While the width of the terminal changes, each row of a reply is displayed once, and nothing else remains."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("rows\r")
            terminal.wait_for("row 1 ")
            terminal.type("draft")
            for columns in (90, 70, 99, 60, 100, 65, 100):
                terminal.resize(columns)
                terminal.read_for(0.1)
            terminal.wait_for(f"{ROWS[-1]}\r\n")
            terminal.wait_until("> draft")
            lines = terminal.lines
            start = lines.index("> rows")
            self.assertEqual([line for line in lines[start:] if line], ["> rows", "openai", *ROWS, "> draft"])
            terminal.type("\x15" + CTRL_D)

        self.assertEqual(await self.use(daemon, scenario), 0)

    async def test_suspends(self) -> None:
        """Ctrl-Z stops the client with the terminal as it was; after fg, the reply goes on and the draft is there."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.wait_for("shell$ ")
            terminal.type(" ".join(self.command) + "\r")
            terminal.wait_for(READY)
            terminal.wait_until(">")
            terminal.type("rows\r")
            terminal.wait_for("row 1 ")
            terminal.type("draft")
            terminal.wait_until("> draft")
            terminal.type(CTRL_Z)
            terminal.wait_for("Stopped")
            terminal.wait_for("shell$ ")
            self.assertTrue(terminal.is_echoing)
            terminal.type("fg\r")
            terminal.wait_for(f"{ROWS[-1]}\r\n")
            terminal.wait_until("> draft")
            terminal.type("\x15" + CTRL_D)
            terminal.wait_for("shell$ ")
            terminal.type("exit\r")
            rows = [line for line in terminal.lines if line.startswith("row")]
            self.assertEqual(rows, ROWS)

        await self.use(daemon, scenario, "/bin/sh", "-i", PS1="shell$ ")

    async def test_hostile(self) -> None:
        """Whatever the robot sends and the user pastes, the terminal gets the escape sequences of the client only."""
        daemon = await self.start_peer()
        text = "paste " + " ".join(HOSTILE).replace("\x1b[201~", "")

        def scenario(terminal: Terminal) -> None:
            terminal.type("hostile\r")
            terminal.wait_for("openai")
            terminal.wait_until(">")
            terminal.type("hostile code\r")
            terminal.wait_for("```python")
            terminal.wait_for("\x1b[36m")  # of the string
            terminal.wait_until(">")
            terminal.type(PASTE + text + PASTED)
            terminal.read_for(0.5)
            terminal.type("\r")
            terminal.wait_for("> \x1b[0m\x1b[1mpaste")
            terminal.wait_for("openai")
            terminal.read_for(0.5)
            terminal.type(CTRL_D)
            terminal.read_for(0.5)
            self.assertClean(terminal.screen)

        self.assertEqual(await self.use(daemon, scenario), 0)

    def assertClean(self, screen: str) -> None:
        """The terminal got the escape sequences of our styles and of the prompt only, and no invisible character."""
        rest = SEQUENCES.sub("", screen).replace("\r", "").replace("\n", "")
        self.assertTrue(rest.isprintable(), re.findall(r"[^ -~]{1,9}", rest))
        for letter in ("\u202e", "\u200f", "\u061c", "\u200b", "\ufeff", "\u3164", "\U000e0041", "\u0301" * 7):
            self.assertNotIn(letter, rest)

    async def test_hostileNames(self) -> None:
        """So it is with the names of the robot, of the user and of the server's software."""
        port = reactor.listenTCP(0, Factory.forProtocol(HostileServer), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.known_hosts = Path(self.mktemp()).absolute()

        def scenario(terminal: Terminal) -> None:
            terminal.type("/info\r")
            terminal.wait_for("host key: ")
            terminal.type("q\r")
            terminal.wait_for("hello")
            terminal.type(CTRL_D)
            terminal.read_for(0.5)
            self.assertGreater(terminal.screen.count("\ufffd"), 3 * len(HOSTILE))
            self.assertClean(terminal.screen)

        self.assertEqual(await self.use(port.getHost(), scenario), 0)

    async def test_noColour(self) -> None:
        """With NO_COLOR there are no styles, the marks of Markdown stay, and a robot's row does not look like ours."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("corpus\r")
            terminal.wait_for("The end\r\n")
            terminal.type(CTRL_D)
            terminal.read_for(0.5)
            self.assertEqual(set(re.findall(r"\x1b\[([\d;]*)m", terminal.screen)) - {"0"}, set())
            self.assertIn("# Title", terminal.lines)

        self.assertEqual(await self.use(daemon, scenario, NO_COLOR="1"), 0)

    async def test_dumb(self) -> None:
        """A dumb terminal gets lines of text, without any escape sequence."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("hello\r")
            terminal.wait_for("\r\nopenai:\r\nhello\r\n\r\n> ")
            terminal.type("/new\r")
            terminal.wait_for("-- started a new conversation")
            terminal.type(CTRL_D)
            terminal.read_for(0.5)
            self.assertNotIn("\x1b", terminal.screen)

        self.assertEqual(await self.use(daemon, scenario, TERM="dumb"), 0)

    async def test_helpInChinese(self) -> None:
        """In Chinese, each command has a line as well, and the descriptions begin in the same column."""
        daemon = await self.start_peer()

        def scenario(terminal: Terminal) -> None:
            terminal.type("/help\r")
            terminal.wait_for("/quit")
            terminal.wait_for("//")
            terminal.type(CTRL_D)
            terminal.read_for(0.5)
            lines = [line for line in terminal.lines if line.startswith("-- /")]
            self.assertEqual([re.split(r"[ /]+", line)[1] for line in lines], [*COMMANDS])
            columns = {width("".join(re.split("( {2,})", line)[:2])) for line in lines}
            self.assertEqual(len(columns), 1, lines)
            self.assertNotIn("Version", "".join(terminal.lines))

        self.assertEqual(await self.use(daemon, scenario, LANGUAGE="zh_CN"), 0)

    async def test_history(self) -> None:
        """What was entered is there in the next session, unless it began with a space or the user wants no history."""
        daemon = await self.start_peer()
        state = Path(self.mktemp()).absolute()

        def first(terminal: Terminal) -> None:
            terminal.type("hello one\r")
            terminal.wait_for("\r\nhello one\r\n")
            terminal.type(" secret\r")
            terminal.wait_for("\r\nsecret\r\n")
            terminal.type(CTRL_D)

        def second(terminal: Terminal) -> None:
            terminal.type("\x1b[A")
            terminal.wait_until("> hello one")
            terminal.type("\x15" + CTRL_D)

        def third(terminal: Terminal) -> None:
            terminal.type("\x1b[A!")
            terminal.wait_until("> !")
            terminal.type("\x15" + CTRL_D)

        for scenario, options in ((first, ()), (second, ()), (third, ("--no-history",))):
            await self.use(daemon, scenario, options=options, XDG_STATE_HOME=str(state))
