"""Libraries that are loaded only where they are needed."""

import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.test_layers import MODULES, folder_of

TWISTED = {"twisted", "treq", "zope"}


def modules_loaded_by(program: str) -> set[str]:
    """The modules that a fresh Python interpreter has loaded after it ran `program`."""
    command = [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return set(done.stdout.split())


def packages(modules: set[str]) -> set[str]:
    """The top-level packages of these modules."""
    return {module.partition(".")[0] for module in modules}


class LoadTests(SynchronousTestCase):
    """Modules that an import loads, directly or not."""

    def test_wireAndSsh(self) -> None:
        """`wire` and `ssh` do not load Twisted."""
        chosen = [module for module in MODULES if folder_of(module) in ("wire", "ssh")]
        loaded = modules_loaded_by(f"import {', '.join(chosen)}")
        self.assertIn("securechat.wire.handshake", loaded)
        self.assertEqual(packages(loaded) & TWISTED, set())

    def test_history(self) -> None:
        """The server's history loads no robot and no HTTP client."""
        loaded = modules_loaded_by("import securechat.server.history")
        self.assertEqual({module for module in loaded if module.startswith("securechat.robots")}, set())
        self.assertEqual(packages(loaded) & {"treq", "OpenSSL"}, set())

    def test_settings(self) -> None:
        """The settings and the client's command line do not load Twisted: `--help` and errors come at once."""
        loaded = modules_loaded_by("import securechat.server.settings, securechat.client.options")
        self.assertEqual(packages(loaded) & TWISTED, set())

    def test_messagesWithoutATerminal(self) -> None:
        """`securechat -m` does not load prompt_toolkit."""
        with socket.socket() as closed:  # bound but not listening: connections are refused
            closed.bind(("127.0.0.1", 0))
            arguments = [f"127.0.0.1:{closed.getsockname()[1]}", "--known-hosts", self.mktemp(), "-m", "hello"]
            loaded = modules_loaded_by(f"from securechat.client.__main__ import main; assert main({arguments}) == 3")
        self.assertIn("securechat.client.frontends.batch", loaded)
        self.assertEqual(packages(loaded) & {"prompt_toolkit"}, set())
        self.assertEqual({module for module in loaded if module.startswith("twisted.web")}, set())
        self.assertEqual(
            {module for module in loaded if module.startswith("securechat.client.api.")},
            {"securechat.client.api.address"},
        )

    def test_messagesWithoutTls(self) -> None:
        """`securechat` does not load OpenSSL's bindings for TLS, nor the HTTP client."""
        loaded = modules_loaded_by(
            "import securechat.client.__main__, securechat.client.frontends.terminal, securechat.client.terminal.choose"
        )
        self.assertIn("prompt_toolkit", loaded)
        self.assertEqual({module for module in loaded if module.startswith("OpenSSL.")}, set())
        self.assertEqual(packages(loaded) & {"treq", "service_identity"}, set())

    def test_colours(self) -> None:
        """Pygments is loaded by the first code in a language that it knows."""
        program = "import securechat.client.frontends.terminal; from securechat.client.terminal.markdown import Styler"
        loaded = modules_loaded_by(f"{program}; Styler().feed('```\\nx\\n```\\n```text\\nx\\n', 80)")
        self.assertIn("securechat.client.terminal.code", loaded)
        self.assertEqual(packages(loaded) & {"pygments"}, set())
        loaded = modules_loaded_by(f"{program}; Styler().feed('```python\\n', 80)")
        self.assertIn("pygments", packages(loaded))

    def test_garbage(self) -> None:
        """While the client's modules are loaded, Python does not look for garbage; afterwards it may again."""
        watch = (
            "import gc, sys; seen = [len(sys.modules)]; "
            "gc.callbacks.append(lambda phase, info: seen.append(len(sys.modules))); "
        )
        check = "; assert max(seen) < seen[0] + 20, seen; assert gc.isenabled()"
        loaded = modules_loaded_by(f"{watch}import securechat.client.__main__{check}")
        self.assertIn("twisted.internet.asyncioreactor", loaded)

    def test_daemon(self) -> None:
        """The daemon loads the HTTP client only for a robot that uses it."""
        make = "from securechat.robots.registry import make_robot; make_robot(reactor, {robot!r}, {options}, {{}})"
        start = "import securechat.tap; from twisted.internet import reactor; "
        loaded = modules_loaded_by(start + make.format(robot="eliza", options=[]))
        self.assertIn("securechat.robots.eliza.script", loaded)
        self.assertEqual(packages(loaded) & {"treq", "prompt_toolkit"}, set())
        self.assertEqual({module for module in loaded if module.startswith("twisted.web")}, set())
        loaded = modules_loaded_by(start + make.format(robot="openai", options=["model=m"]))
        self.assertIn("treq", packages(loaded))

    def test_metrics(self) -> None:
        """The daemon loads the HTTP server and the library for metrics only if there are some."""
        make = "from securechat.tap import Options, makeService; o = Options(); o.parseOptions({}); makeService(o)"
        options = ["--state-dir", self.mktemp()]
        loaded = modules_loaded_by(make.format(options))
        self.assertIn("securechat.server.service", loaded)
        self.assertEqual(packages(loaded) & {"prometheus_client"}, set())
        self.assertEqual({module for module in loaded if module.startswith("twisted.web")}, set())
        loaded = modules_loaded_by(make.format([*options, "--metrics", "unix:metrics"]))
        self.assertIn("prometheus_client", packages(loaded))
