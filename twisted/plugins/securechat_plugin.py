"""Makes ``twistd securechat`` known."""

from twisted.application.service import ServiceMaker

securechat = ServiceMaker(
    "securechat", "securechat.tap", "A chat robot behind an encrypted, post-quantum channel.", "securechat"
)
