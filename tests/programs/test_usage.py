"""The usage of users in a real daemon that is killed, and one whose ledger cannot be used."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from securechat.client.signer import Signer
from securechat.server.bookkeeping import INTERVAL
from securechat.ssh import keys
from tests.harness.daemon import MANY, Daemon, Talk, reactor
from tests.harness.pair import USER_KEY
from tests.programs.test_daemon import DaemonTestCase

SLACK = 2.0  # seconds by which a busy machine may delay an exchange with the ledger
REACHED = r"\[You have reached your limit of 3 messages a day \(UTC\); try again in [^\n]+\.\]\n\[LIMIT_REACHED\]"


class UsageTests(DaemonTestCase):
    """One user, who may send three messages a day."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp()).absolute()
        self.path = self.state / "usage.sqlite"

    def run_one(self) -> Daemon:
        users = self.file(keys.public_line(USER_KEY.blob, "ann") + "\n")
        options = ("--robot", "echo", "--messages-per-day", "3", "--authorized-keys", users)
        return self.run_daemon(*options, "--state-dir", str(self.state))

    async def talk(self, daemon: Daemon) -> Talk:
        return await Talk().start(daemon.port, signer=Signer(USER_KEY.blob, USER_KEY.sign))

    async def test_killed(self) -> None:
        """What was used until a few seconds before kill -9 is known to the next daemon, which also finds no text."""
        daemon = await self.run_one().started()
        talk = await self.talk(daemon)
        for _ in range(2):
            self.assertEqual(await talk.ask("a secret"), "a secret")
        while not (self.path.exists() and self.messages() == [("ann", 2)]):
            await deferLater(reactor, 0.1)
        self.assertEqual(await talk.ask("lost"), "lost")
        daemon.process.kill()
        await deferToThread(daemon.process.wait)
        for file in self.state.iterdir():
            self.assertNotIn(b"secret", file.read_bytes(), file.name)
        daemon = await self.run_one().started()
        talk = await self.talk(daemon)
        self.assertEqual(await talk.ask("hello"), "hello")
        self.assertRegex(await talk.ask("hello"), REACHED)
        await talk.leave()
        await daemon.stop()
        self.assertEqual(self.messages(), [("ann", 3)])

    async def test_killedUnderLoad(self) -> None:
        """After kill -9 under load, the ledger lacks nothing that was answered longer ago than its interval."""
        options = ("--robot", "echo", "--shaping", "off", "--message-rate", "100000", *MANY)
        daemon = await self.run_daemon(*options, "--state-dir", str(self.state)).started()
        answered: list[float] = []
        talks = [await Talk().start(daemon.port) for _ in range(10)]
        sent = 0

        async def go_on(talk: Talk) -> None:
            nonlocal sent
            while True:
                sent += 1
                self.assertEqual(await talk.ask("hello"), "hello")
                answered.append(time.monotonic())

        for talk in talks:
            Deferred.fromCoroutine(go_on(talk))  # which ends with the connection
        await deferLater(reactor, 2.6 * INTERVAL)
        daemon.process.kill()
        killed = time.monotonic()
        await deferToThread(daemon.process.wait)
        [(user, saved)] = self.messages()
        self.assertEqual(user, "")
        self.assertGreaterEqual(saved, sum(moment < killed - INTERVAL - SLACK for moment in answered))
        self.assertLessEqual(saved, sent)
        self.assertGreater(saved, 0)

    async def test_unusable(self) -> None:
        """Users of a daemon whose ledger cannot be used get answers, within their limits; the log says so once."""
        self.state.mkdir()
        self.path.write_bytes(b"no database " * 1000)
        daemon = await self.run_one().started()
        talk = await self.talk(daemon)
        for _ in range(3):
            self.assertEqual(await talk.ask("hello"), "hello")
        self.assertRegex(await talk.ask("hello"), REACHED)
        await daemon.logged("usage cannot be saved")
        await deferLater(reactor, 4.0)
        await daemon.stop()
        self.assertEqual(daemon.text().count("usage cannot be saved"), 1)
        self.assertNotIn("Traceback", daemon.text())
        self.assertEqual(daemon.process.returncode, 0)

    def messages(self) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self.path)) as connection:
            found: list[tuple[str, int]] = connection.execute("SELECT user, messages FROM usage").fetchall()
        return found
