"""Imports point one way: the folders of the package are layers, and a rule holds for each."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import securechat

PACKAGE = Path(securechat.__path__[0])
TWISTED = {"twisted", "treq", "zope"}


def modules(folder: str) -> list[str]:
    """The modules of a folder of the package, also those in folders below it."""
    paths = sorted((PACKAGE / folder).rglob("*.py"))
    return [".".join(("securechat", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in paths]


def loaded_by(*names: str) -> set[str]:
    """The modules that a fresh Python has loaded after it imported these."""
    program = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


class LayerTests(SynchronousTestCase):
    """What a folder's modules import, and what comes along with it."""

    def test_wireAndSshKnowNoTwisted(self) -> None:
        """`wire` and `ssh` are bytes in, bytes and events out: nothing of Twisted comes along with them."""
        loaded = loaded_by(*modules("wire"), *modules("ssh"))
        self.assertIn("securechat.wire.handshake", loaded)
        self.assertEqual({name.partition(".")[0] for name in loaded} & TWISTED, set())
