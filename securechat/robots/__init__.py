"""Robots: text in, chunks of text out."""

from securechat.robots.interface import Conversation, IRobot, IRobotMaker, Option, Speaker, Turn

__all__ = ["Conversation", "IRobot", "IRobotMaker", "Option", "Speaker", "Turn"]
