"""A second implementation of securechat/1, written from ``docs/protocol.md`` alone: slow and blocking, for comparison.

It shares no code with the ``securechat`` package, so where the two agree, they agree on the specification.
"""
