"""Hiding secrets in texts and responses."""

import json

from twisted.trial.unittest import SynchronousTestCase

from securechat.errors import Fault, RobotError
from securechat.robots.openai.masking import Mask

KEY = "sk/12345"


class MaskTests(SynchronousTestCase):
    """Keys and headers."""

    def test_error(self) -> None:
        """The text of an error loses key and headers, and keeps the rest."""
        mask = Mask(KEY, ["Bearer abc", "xyz"])
        error = mask.error(RobotError(Fault.BUSY, f"no {KEY}, Bearer abc, xyz", 7.0))
        self.assertEqual((error.fault, str(error), error.retry_after), (Fault.BUSY, "no …, …, xyz", 7.0))
        error = RobotError(Fault.BUSY, "no")
        self.assertIs(mask.error(error), error)

    def test_data(self) -> None:
        """A response loses the key, headers and the words of headers, also as JSON writes them."""
        mask = Mask(KEY, ["Bearer abcdefgh", 'quoted"value'])
        for text in (KEY, "Bearer abcdefgh", "abcdefgh", 'quoted"value'):
            for form in (text, json.dumps(text)[1:-1], json.dumps(text)[1:-1].replace("/", "\\/")):
                self.assertEqual(mask.data(f'{{"e": "{form}!"}}'.encode()), '{"e": "…!"}'.encode(), form)

    def test_noSecrets(self) -> None:
        """Short values are no secrets, so that JSON stays valid and words stay whole; neither is a missing key."""
        data = b'{"a": true, "b": 1234, "c": "Bearer ollama"}'
        for mask in (Mask(None, ["true", "1234", "Bearer x"]), Mask("abc", []), Mask("ollama", []), Mask("", [])):
            self.assertIs(mask.data(data), data)
