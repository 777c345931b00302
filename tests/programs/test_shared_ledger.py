"""Real daemons that share a ledger in a real PostgreSQL: limits, an outage under load, and kill -9."""

import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from securechat.client.signer import Signer
from securechat.server.bookkeeping import SHARED_INTERVAL
from securechat.ssh import keys
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.daemon import ENVIRON, MANY, Daemon, Talk, reactor
from tests.harness.pair import USER_KEY
from tests.harness.postgresql import PostgreSQL, why_not
from tests.programs.test_daemon import DaemonTestCase

BOB = keys.SigningKey.generate()
SLACK = 2.0  # seconds by which a busy machine may delay an exchange with the ledger
REACHED = r"\[You have reached your limit of 3 messages a day \(UTC\); try again in [^\n]+\.\]\n\[LIMIT_REACHED\]"


async def reason(talk: Talk) -> Reason:
    """Why the server has ended a session."""
    end = await talk.end
    assert isinstance(end, GoodbyeReceived)
    return end.reason


class SharedLedgerTests(DaemonTestCase):
    """A database, and daemons that use it."""

    skip = why_not()

    def setUp(self) -> None:
        self.server = PostgreSQL()
        self.addCleanup(self.server.remove)

    def run_one(self, *options: str) -> Daemon:
        users = self.file(keys.public_line(USER_KEY.blob, "ann") + "\n" + keys.public_line(BOB.blob, "bob") + "\n")
        shared = ("--ledger", self.server.uri, "--robot", "echo", "--authorized-keys", users)
        return self.run_daemon(*shared, *MANY, "--message-rate", "100000", *options)

    async def ctl(self, control: Path, *arguments: str) -> tuple[int, str]:
        """Run securechat-ctl: its exit status and the errors that it printed."""
        command = [sys.executable, "-m", "securechat.control", "--socket", str(control), *arguments]
        done: subprocess.CompletedProcess[str] = await deferToThread(
            subprocess.run, command, env=ENVIRON, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stderr

    async def talk(self, daemon: Daemon, key: keys.SigningKey = USER_KEY) -> Talk:
        return await Talk().start(daemon.port, signer=Signer(key.blob, key.sign))

    async def counted(self, **messages: int) -> None:
        """Wait until so many messages of these users are in the database."""
        while self.server.messages() != messages:
            await deferLater(reactor, 0.05)

    async def test_limits(self) -> None:
        """A limit that is reached at one daemon is known to the others, also of a user who has a session there."""
        here, there = [await self.run_one("--messages-per-day", "3").started() for _ in range(2)]
        waiting = await self.talk(there)
        talk = await self.talk(here)
        for _ in range(3):
            self.assertEqual(await talk.ask("hello"), "hello")
        await self.counted(ann=3)
        # What another user sends there is saved by an exchange that also reads what ann has used. The exchange that
        # saves a second message begins when the first one has ended.
        bob = await self.talk(there, BOB)
        for number in (1, 2):
            await bob.ask("hello")
            await self.counted(ann=3, bob=number)
        self.assertRegex(await waiting.ask("hello"), REACHED)
        self.assertRegex(await (await self.talk(there)).ask("hello"), REACHED)
        self.assertRegex(await talk.ask("hello"), REACHED)
        self.assertEqual(self.server.messages(), {"ann": 3, "bob": 2})

    async def test_outage(self) -> None:
        """The database is stopped and started under load: users get answers, and the counters are exact afterwards."""
        daemons = [await self.run_one("--shaping", "off").started() for _ in range(2)]
        talks = [await self.talk(daemon) for daemon in daemons for _ in range(4)]
        answered = 0
        is_over = False

        async def go_on(talk: Talk) -> None:
            nonlocal answered
            while not is_over:
                self.assertEqual(await talk.ask("hello"), "hello")
                answered += 1

        async def answers(number: int) -> None:
            """Wait until so many more messages were answered."""
            end = answered + number
            while answered < end:
                await deferLater(reactor, 0.01)

        loads = [Deferred.fromCoroutine(go_on(talk)) for talk in talks]
        await answers(100)

        async def logged(words: str, number: int) -> None:
            """Wait until each daemon has logged this so often."""
            for daemon in daemons:
                while daemon.text().count(words) < number:
                    await deferLater(reactor, 0.05)

        for number, mode in enumerate(("fast", "immediate"), 1):
            await deferToThread(self.server.stop, mode)
            await logged("usage cannot be saved", number)
            await answers(100)
            newcomer = await self.talk(daemons[0])
            self.assertEqual(await newcomer.ask("hello"), "hello")
            answered += 1
            await deferToThread(self.server.start)
            await logged("usage is saved again", number)
            await answers(100)
        is_over = True
        for load in loads:
            await load
        for daemon in daemons:
            await daemon.stop()
            self.assertNotIn("Traceback", daemon.text())
            self.assertEqual(daemon.text().count("usage cannot be saved"), 2)
            self.assertEqual(daemon.text().count("usage is saved again"), 2)
        self.assertEqual(self.server.messages(), {"ann": answered})

    async def test_startWithoutDatabase(self) -> None:
        """A daemon starts and admits users while the database does not run, and learns later what they have used."""
        first = await self.run_one("--messages-per-day", "3").started()
        talk = await self.talk(first)
        for _ in range(2):
            await talk.ask("hello")
        await first.stop()
        self.server.stop()
        daemon = await self.run_one("--messages-per-day", "3").started()
        talk = await self.talk(daemon)
        self.assertEqual(await talk.ask("hello"), "hello")
        await daemon.logged(
            "usage cannot be saved: postgresql://securechat@/securechat: connection to server on socket"
        )
        self.server.start()
        await daemon.logged("usage is saved again")
        self.assertRegex(await talk.ask("hello"), REACHED)
        await daemon.stop()
        self.assertEqual(self.server.messages(), {"ann": 3})

    async def test_killed(self) -> None:
        """After kill -9 under load, the database lacks nothing that was answered longer ago than the interval."""
        daemon = await self.run_one("--shaping", "off").started()
        sent = answered = 0

        async def go_on(talk: Talk) -> None:
            nonlocal sent, answered
            while True:
                sent += 1
                await talk.ask("hello")
                answered += 1

        for talk in [await self.talk(daemon) for _ in range(4)]:
            Deferred.fromCoroutine(go_on(talk))  # which ends with the connection
        while sum(self.server.messages().values()) < 100:
            await deferLater(reactor, 0.05)
        before = answered
        await deferLater(reactor, SHARED_INTERVAL + SLACK)
        daemon.process.kill()
        await deferToThread(daemon.process.wait)
        saved = self.server.messages()["ann"]
        self.assertGreaterEqual(saved, before)
        self.assertLessEqual(saved, sent)

    async def test_kicked(self) -> None:
        """A command at one daemon ends a user's sessions at all; if the others cannot be told, it says so."""
        control = self.server.directory / "control"
        here = await self.run_one("--control", str(control)).started()
        there = await self.run_one().started()
        talks = [await self.talk(daemon) for daemon in (here, there, there)]
        self.assertEqual(await self.ctl(control, "kick-user", "ann"), (0, ""))
        for talk in talks:
            self.assertEqual(await reason(talk), Reason.REMOVED)
        talk = await self.talk(there)  # who may come back
        self.assertEqual(await talk.ask("hello"), "hello")
        self.server.stop()
        status, errors = await self.ctl(control, "kick-user", "ann")
        self.assertEqual(status, 1)
        self.assertIn("done by this daemon, but the others cannot be told: postgresql://", errors)

    async def test_revoked(self) -> None:
        """A key that was revoked in the files is out everywhere when one daemon has been told to reload all."""
        revoked = Path(self.file(""))
        control = self.server.directory / "control"
        options = ("--revoked-keys", str(revoked))
        here = await self.run_one("--control", str(control), *options).started()
        there = await self.run_one(*options).started()
        talks = [await self.talk(daemon) for daemon in (here, there)]
        revoked.write_text(keys.public_line(USER_KEY.blob, "ann") + "\n")
        self.assertEqual(await self.ctl(control, "reload-all"), (0, ""))
        for talk in talks:
            self.assertEqual(await reason(talk), Reason.KEY_WITHDRAWN)
