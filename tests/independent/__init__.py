"""securechat/1 written a second time, from ``docs/protocol.md`` alone: slow, blocking, and made to be compared.

It shares no line with the ``securechat`` package, so that what the two agree on is what the page says.
"""
