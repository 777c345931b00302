"""``python -m sidechannel.naive``: twistd, whose daemon uses Twisted's own timers."""

from unittest.mock import patch

from twisted.scripts.twistd import run

from securechat import tap

if __name__ == "__main__":
    with patch.object(tap, "MonotonicReactor", lambda reactor: reactor):
        run()
