"""Robots: text in, chunks of text out. `make_robots` finds them by their names.

Somebody else's robot is a Twisted plugin: an object that provides `IRobotMaker`, in a module of their distribution's
``twisted/plugins`` folder.
"""

from securechat.robots.interface import Conversation, IRobot, IRobotMaker, Notice, Option, Speaker, Turn
from securechat.robots.registry import help_text, make_robot, make_robots

__all__ = [
    "Conversation",
    "IRobot",
    "IRobotMaker",
    "Notice",
    "Option",
    "Speaker",
    "Turn",
    "help_text",
    "make_robot",
    "make_robots",
]
