"""Talk to a chat robot over networks that nobody should trust."""

__version__ = "0.1.0"
