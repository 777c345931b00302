"""The folders of the package are layers: which ones a folder may import."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import securechat

PACKAGE = Path(securechat.__path__[0])
MAY_IMPORT = {  # every folder may also import itself and the modules beside the folders, for instance errors.py
    "ssh": set[str](),
    "wire": {"ssh"},
    "calls": {"wire"},
    "robots": {"wire", "calls"},
    "server": {"wire", "ssh", "calls", "robots"},
    "client": {"wire", "ssh", "calls"},
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


class ProgramTests(SynchronousTestCase):
    """The folders of the tests."""

    def test_programs(self) -> None:
        """Only tests in tests/programs start daemons and other Python programs: `make quick` leaves that folder out."""
        starts_program = re.compile(r"sys[.]executable|\bDaemon[(]")
        modules = Path(__file__).parent.rglob("test_*.py")
        folders = {path.parent.name for path in modules if starts_program.search(path.read_text("utf-8"))}
        self.assertEqual(folders, {"programs"})
