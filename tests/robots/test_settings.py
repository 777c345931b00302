"""What the settings of several robots have in common."""

from typing import Any, cast

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.settings import parse_url, warn_if_exposed


class UrlTests(SynchronousTestCase):
    """URLs of robots' servers."""

    def test_parse(self) -> None:
        """A URL gets its ASCII form; one without a port has that of its scheme."""
        for text, url in (
            ("http://127.0.0.1:8081/a/b", "http://127.0.0.1:8081/a/b"),
            ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
            ("HTTP://h:80", "HTTP://h:80"),
            ("http://[::1]:1/x", "http://[::1]:1/x"),
            ("http://h:65535", "http://h:65535"),
        ):
            self.assertEqual(parse_url(text), url)

    def test_wrong(self) -> None:
        """Other schemes, ports that are none, a password or a user name, and what is no URL are refused."""
        for text in ("ftp://h", "h:80", "http://", "http://h:0", "http://h:65536", "http://u@h/", "http://u:p@h/", ""):
            self.assertRaises(ValueError, parse_url, text)

    def test_warning(self) -> None:
        """The log warns of http to other machines, and of nothing else."""
        logged: list[Any] = []
        observer = cast(Any, logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for url, is_exposed in (
            ("http://127.0.0.1:1/", False),
            ("http://127.5.5.5/", False),
            ("http://[::1]:1/", False),
            ("http://localhost:1/", False),
            ("https://chat.example/", False),
            ("https://192.0.2.1/", False),
            ("http://chat.example/", True),
            ("http://192.0.2.1/", True),
            ("http://[2001:db8::1]/", True),
            ("http://localhost.example/", True),
        ):
            logged.clear()
            warn_if_exposed(parse_url(url))
            self.assertEqual([event["log_level"] for event in logged], [LogLevel.warn] * is_exposed, url)
