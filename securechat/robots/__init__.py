"""Robots: text in, chunks of text out. This is the interface that one is written against.

Somebody else's robot is a Twisted plugin: an object that provides `IRobotMaker`, in a module of their distribution's
``twisted/plugins`` folder.
"""

from securechat.conversation import Conversation, Notice, Speaker, Turn
from securechat.robots.interface import IRobot, IRobotMaker, Option

__all__ = ["Conversation", "IRobot", "IRobotMaker", "Notice", "Option", "Speaker", "Turn"]
