"""The catalogues of translations: complete, and as the source has them."""

import ast
import re
from pathlib import Path
from string import Formatter

from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from twisted.trial.unittest import SynchronousTestCase

import securechat

PACKAGE = Path(securechat.__path__[0])
CATALOGUES = sorted(PACKAGE.glob("locale/*/LC_MESSAGES/securechat.po"))
MARKERS = {"_", "N_", "ngettext"}


def forms(text: object) -> tuple[str, ...]:
    """What a message or its translation consists of: itself, or its singular and plurals."""
    return tuple(map(str, text)) if isinstance(text, list | tuple) else (str(text),)


def placeholders(text: str) -> set[str]:
    """What is filled in: by `format` or, in the texts that are argparse's, by ``%``."""
    fields = {name for _text, name, _spec, _conversion in Formatter().parse(text) if name is not None}
    return fields | set(re.findall(r"%(?:\(\w+\))?[a-z]", text))


def read(catalogue: Path) -> dict[tuple[str, ...], Message]:
    """The messages of a catalogue by their source text, without the header."""
    with catalogue.open("rb") as file:
        messages = read_mo(file) if catalogue.suffix == ".mo" else read_po(file)
    return {forms(message.id): message for message in messages if message.id}


def calls(module: Path) -> list[ast.Call]:
    """Where a module marks or translates text."""
    nodes = ast.walk(ast.parse(module.read_text("utf-8")))
    return [
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKERS
    ]


class SourceTests(SynchronousTestCase):
    """What the source marks for translation."""

    def test_isTranslatedBeforeItIsFilledIn(self) -> None:
        """No marked text is an f-string or put together: no catalogue could have it."""
        for module in PACKAGE.rglob("*.py"):
            for call in calls(module):
                for argument in call.args[:2]:  # of ngettext, the third is the number
                    put_together = isinstance(argument, ast.JoinedStr | ast.BinOp | ast.Call)
                    self.assertFalse(put_together, f"{module.name}:{call.lineno}")


class CatalogueTests(SynchronousTestCase):
    """What translators wrote; where one of these fails, `make messages` and a translation are wanted."""

    def test_thereIsChinese(self) -> None:
        """Simplified Chinese is among the languages."""
        self.assertIn("zh_CN", {catalogue.parent.parent.name for catalogue in CATALOGUES})

    def test_haveTheTextsOfTheSource(self) -> None:
        """The template and each catalogue have every marked text of the source, and no other."""
        marked = {forms(text) for _file, _line, text, _comments, _context in extract_from_dir(PACKAGE)}
        for catalogue in [PACKAGE / "locale/securechat.pot", *CATALOGUES]:
            self.assertEqual(set(read(catalogue)), marked, catalogue)

    def test_areTranslatedWhole(self) -> None:
        """No text waits for its translation or for somebody to look at it."""
        for catalogue in CATALOGUES:
            for message in read(catalogue).values():
                self.assertTrue(all(forms(message.string)), message.id)
                self.assertFalse(message.fuzzy, message.id)

    def test_haveThePlaceholdersOfTheSource(self) -> None:
        """What is filled into a text can be filled into its translation."""
        for catalogue in CATALOGUES:
            for source, message in read(catalogue).items():
                wanted = placeholders(source[-1])
                for translation in forms(message.string):
                    self.assertEqual(placeholders(translation), wanted, source)

    def test_areCompiled(self) -> None:
        """What programs read is what translators wrote."""
        for catalogue in CATALOGUES:
            written, compiled = (
                {source: forms(message.string) for source, message in read(file).items()}
                for file in (catalogue, catalogue.with_suffix(".mo"))
            )
            self.assertEqual(compiled, written, catalogue)
