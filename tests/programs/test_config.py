"""A daemon with a configuration file: checked, started, reloaded."""

from pathlib import Path

from securechat.client.signer import Signer
from securechat.ssh import keys
from securechat.wire.events import GoodbyeReceived
from securechat.wire.messages import Reason
from tests.harness.daemon import Talk
from tests.harness.model_process import ModelProcess
from tests.harness.pair import USER_KEY
from tests.programs.test_daemon import DaemonTestCase

SIGNER = Signer(USER_KEY.blob, USER_KEY.sign)


class ConfigTests(DaemonTestCase):
    """The whole life of a file."""

    def test_check(self) -> None:
        """--check-config prints one line and exits with 0 or 2."""
        path = self.file("tick = 0.1\n[robot.echo]\n")
        self.assertEqual(self.run_daemon("--config", path, "--check-config").failed(), (0, "OK"))
        path = self.file("tick = 0.1\n[robot.echo]\nspeed = 1\n")
        expected = (2, f"{path}:3: robot.echo.speed: unknown key")
        self.assertEqual(self.run_daemon("--config", path, "--check-config").failed(), expected)

    async def test_reload(self) -> None:
        """SIGHUP applies the file without dropping a session, refuses a wrong one, and ends those of revoked keys."""
        team = self.file(keys.public_line(USER_KEY.blob, "alice"))
        revoked = Path(self.file(""))
        text = f'authorized-keys = "{team}"\nrevoked-keys = "{revoked}"\nshaping = "off"\n'
        config = Path(self.file(f"{text}[robot.echo]\n"))
        daemon = await self.run_daemon("--config", str(config)).started()
        talk = await Talk().start(daemon.port, signer=SIGNER)
        self.assertEqual(await talk.ask("hello"), "hello")
        config.write_text(f"{text}[robot.marvin]\n")
        daemon.hang_up()
        await daemon.logged(f"{config}:4: robot.marvin: unknown robot marvin; expected one of")
        self.assertEqual(await talk.ask("hello"), "hello")
        config.write_text(f"{text}[robot.eliza]\n")
        daemon.hang_up()
        await daemon.logged("reloaded the configuration")
        self.assertNotEqual(await talk.ask("hello"), "hello")
        revoked.write_text(keys.fingerprint(USER_KEY.blob))
        daemon.hang_up()
        end = await talk.end
        assert isinstance(end, GoodbyeReceived)
        self.assertIs(end.reason, Reason.KEY_WITHDRAWN)

    async def test_modelServers(self) -> None:
        """A model server that is added to the file answers open sessions when the other one is killed."""
        first, second = ModelProcess(), ModelProcess()
        for server in (first, second):
            self.addCleanup(server.kill)
        config = Path(self.file(f'shaping = "off"\n[robot.openai]\nurl = "{first.url}"\n'))
        daemon = await self.run_daemon("--config", str(config)).started()
        talk = await Talk().start(daemon.port)
        self.assertEqual(await talk.ask("hello"), "hello ")
        config.write_text(f'shaping = "off"\n[robot.openai]\nurl = ["{first.url}", "{second.url}"]\n')
        daemon.hang_up()
        await daemon.logged("reloaded the configuration")
        self.assertEqual(await talk.ask("hello"), "hello ")
        first.kill()
        self.assertEqual(await talk.ask("hello"), "hello ")
        await talk.leave()

    async def test_command(self) -> None:
        """A key that the program of --authorized-keys-command prints is admitted."""
        daemon = await self.run_daemon(
            "--robot", "echo", "--authorized-keys-command", "/bin/echo %t %k carol"
        ).started()
        talk = await Talk().start(daemon.port, signer=SIGNER)
        assert talk.about is not None
        self.assertEqual(talk.about.user, "carol")
        self.assertEqual(await talk.ask("hello"), "hello")
        await talk.leave()
