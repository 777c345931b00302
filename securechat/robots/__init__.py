"""Robots: text in, chunks of text out. This module exports the interface for writing one.

A robot of another distribution is a Twisted plugin: an object that provides `IRobotMaker`, such as a `RobotMaker`, in a
module of the distribution's ``twisted/plugins`` folder.
"""

from securechat.conversation import Conversation, Notice, Speaker, Turn
from securechat.robots.interface import IRobot, IRobotMaker, RobotMaker
from securechat.settings import Settings

__all__ = ["Conversation", "IRobot", "IRobotMaker", "Notice", "RobotMaker", "Settings", "Speaker", "Turn"]
