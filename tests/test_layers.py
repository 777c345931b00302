"""The folders of the package are layers: which ones a folder may import, and which libraries it may load."""

import ast
import socket
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import securechat

PACKAGE = Path(securechat.__path__[0])
TWISTED = {"twisted", "treq", "zope"}
MAY_IMPORT = {  # every folder may also import itself and the modules beside the folders, for instance errors.py
    "ssh": set[str](),
    "wire": {"ssh"},
    "robots": set[str](),
    "server": {"wire", "ssh", "robots"},
    "client": {"wire", "ssh"},
}


def find_modules() -> dict[str, Path]:
    """The modules of the package and their files, by dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("securechat", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = find_modules()


def folder_of(module: str) -> str:
    """The folder that a module is in, below the package; empty for the modules beside the folders."""
    parts = MODULES[module].relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(module: str) -> Iterator[str]:
    """The modules of the package that a module imports, also within functions and for type checkers."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in MODULES)
            case ast.ImportFrom(module=str(source), names=names, level=0) if source in MODULES:
                for alias in names:
                    submodule = f"{source}.{alias.name}"
                    yield submodule if submodule in MODULES else source
            case ast.ImportFrom(level=level) if level > 0:
                raise AssertionError(f"{module}:{node.lineno}: relative import")


IMPORTS = {module: set(imports(module)) for module in MODULES}


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


class ImportTests(SynchronousTestCase):
    """Imports as they stand in the source."""

    def test_everyFolderHasARule(self) -> None:
        """A new folder needs a line in MAY_IMPORT."""
        self.assertEqual({folder_of(module) for module in MODULES} - {""}, set(MAY_IMPORT))

    def test_folders(self) -> None:
        """A module imports only the folders that its own folder may import."""
        for module, imported in IMPORTS.items():
            folder = folder_of(module)
            if folder:
                allowed = MAY_IMPORT[folder] | {folder, ""}
                self.assertEqual({name for name in imported if folder_of(name) not in allowed}, set(), module)

    def test_sharedModules(self) -> None:
        """The modules beside the folders that a folder imports do not import a folder."""
        shared = {name for module in MODULES if folder_of(module) for name in IMPORTS[module] if not folder_of(name)}
        self.assertIn("securechat.errors", shared)
        for module in shared:
            self.assertEqual({name for name in IMPORTS[module] if folder_of(name)}, set(), module)

    def test_cycles(self) -> None:
        """No module imports itself by way of others."""
        try:
            TopologicalSorter(IMPORTS).prepare()
        except CycleError as error:
            self.fail(" <- ".join(error.args[1]))


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
