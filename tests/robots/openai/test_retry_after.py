"""When an overloaded server can be asked again."""

import time
from os import environ

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from securechat.robots.openai.retry_after import MAX_RETRY_AFTER, in_headers, in_text, in_value, to_pass_on


class RetryAfterTests(SynchronousTestCase):
    """When an overloaded server can be asked again."""

    def test_values(self) -> None:
        """A value may be a number, a duration or a date in several formats; anything else is ignored."""
        for text, seconds in (
            (b"0", 0.0),
            (b" 12 ", 12.0),
            (b"2.5", 2.5),
            (b"999999", MAX_RETRY_AFTER),
            (b"20s", 20.0),
            (b"6m0s", 360.0),
            (b"120ms", 0.12),
            (b"1h2m3.5s", MAX_RETRY_AFTER),
            (b"Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
            (b"Wed, 21 Oct 2099 07:28:00 GMT", MAX_RETRY_AFTER),
            (b"Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
            (b"Sun Nov  6 08:49:37 1994", 0.0),
            (b"2099-01-27T12:00:00Z", MAX_RETRY_AFTER),
            *(
                (text, None)
                for text in (b"", b"-1", b"soon", b"\xd9\xa1", b"inf", b"nan", b"9" * 400, b"Wed, 99", b"1e3")
            ),
        ):
            self.assertEqual(in_value(text), seconds, text)

    def test_datesAreInUtc(self) -> None:
        """A date without a time zone is in UTC, whatever the local one is; a large number counts from 1970."""
        self.addCleanup(time.tzset)
        before = environ.get("TZ")
        self.addCleanup(lambda: environ.pop("TZ") if before is None else environ.update(TZ=before))
        environ["TZ"] = "Asia/Shanghai"
        time.tzset()
        soon = time.time() + 100
        for text in (
            time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(soon)),
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(soon)),
            str(int(soon)),
            str(int(soon * 1000)),
        ):
            seconds = in_value(text.encode())
            assert seconds is not None
            self.assertTrue(97 < seconds <= 100, (text, seconds))

    def test_headers(self) -> None:
        """The most precise of several headers counts; one that is invalid does not."""
        for headers, seconds in (
            ({}, None),
            ({"Retry-After": "7"}, 7.0),
            ({"Retry-After": "2", "Retry-After-Ms": "1500"}, 1.5),
            ({"Retry-After": "2", "Retry-After-Ms": "soon"}, 2.0),
            ({"Retry-After": "soon", "X-RateLimit-Reset-Requests": "20s"}, 20.0),
            ({"X-RateLimit-Reset-Tokens": "6m0s"}, 360.0),
        ):
            self.assertEqual(in_headers(Headers({name: [value] for name, value in headers.items()})), seconds)

    def test_toPassOn(self) -> None:
        """For a user's tool, the time is in whole seconds, rounded up, and has no limit; 0 if there is none."""
        for headers, seconds in (
            ({}, 0),
            ({"Retry-After": "7"}, 7),
            ({"Retry-After": "1.2"}, 2),
            ({"Retry-After": "86400"}, 86400),
            ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
            ({"Retry-After": "soon"}, 0),
            ({"Retry-After-Ms": "1500", "X-RateLimit-Reset-Requests": "20s"}, 0),
        ):
            self.assertEqual(to_pass_on(Headers({name: [value] for name, value in headers.items()})), seconds)
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 7200))
        self.assertTrue(7190 < to_pass_on(Headers({"Retry-After": [date]})) <= 7200)

    def test_backtracking(self) -> None:
        """A long series of durations that is invalid is rejected at once."""
        began = time.process_time()
        self.assertEqual(to_pass_on(Headers({"Retry-After": ["1milli" * 24 + "!"]})), 0)
        self.assertTrue(time.process_time() - began < 1)

    def test_texts(self) -> None:
        """The message of an error may contain the time."""
        for text, seconds in (
            ("Rate limit reached. Please try again in 20s.", 20.0),
            ("Please try again in 1m7.5s. Visit the site", 67.5),
            ("Please retry in 36.5s.", 36.5),
            ("try again in 6ms", 0.006),
            ("Try again in 2 minutes, 5 seconds", 125.0),
            ('"retryDelay": "36s"', 36.0),
            ("Retry after 30 seconds.", 30.0),
            ("try again later", None),
            ("in 20s", None),
            ("try again in " + "9" * 1000 + "s", None),
        ):
            self.assertEqual(in_text(text), seconds, text)
