"""The addresses that the local API can have."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.api.address import ServeAddress, parse_address


class AddressTests(SynchronousTestCase):
    """From the command line to an address, and to the URL that programs need."""

    def test_addresses(self) -> None:
        """A port alone is one of this machine; IPv6 addresses have brackets."""
        for text, host, url, shown in (
            ("11435", "127.0.0.1", "http://127.0.0.1:11435/v1", "127.0.0.1:11435"),
            ("localhost:1", "127.0.0.1", "http://127.0.0.1:1/v1", "127.0.0.1:1"),
            ("127.0.0.1:65535", "127.0.0.1", "http://127.0.0.1:65535/v1", "127.0.0.1:65535"),
            ("[::1]:80", "::1", "http://[::1]:80/v1", "[::1]:80"),
            ("[0:0::1]:80", "::1", "http://[::1]:80/v1", "[::1]:80"),
        ):
            address = parse_address(text)
            self.assertEqual((address.host, address.base_url, str(address)), (host, url, shown))
            self.assertTrue(address.is_local)

    def test_otherMachines(self) -> None:
        """An address that other machines can reach is told from one that they cannot."""
        for text, url in (
            ("0.0.0.0:80", "http://127.0.0.1:80/v1"),
            ("[::]:80", "http://[::1]:80/v1"),
            ("192.0.2.1:80", "http://192.0.2.1:80/v1"),
            ("127.0.0.2:80", "http://127.0.0.2:80/v1"),
        ):
            self.assertFalse(parse_address(text).is_local)
            self.assertEqual(parse_address(text).base_url, url)

    def test_sockets(self) -> None:
        """A UNIX socket has a path, which is taken from the directory in which the program was started."""
        address = parse_address("unix:run/api")
        self.assertEqual(address, ServeAddress(path=Path.cwd() / "run/api"))
        self.assertEqual((address.is_local, address.base_url), (True, "http://localhost/v1"))
        self.assertEqual(parse_address("unix:~/api").path, Path("~/api").expanduser())
        self.assertEqual(str(parse_address("unix:/run/api")), "unix:/run/api")

    def test_wrong(self) -> None:
        """Anything else is refused, names of machines included."""
        for text in (
            *("", "x", "0", "65536", "-1", "+1", "1 ", "\u0661", "1" * 5000, "80:", "example.org:80", "127.1:80"),
            *("::1:80", "[::1]", "[127.0.0.1]:80", "[fe80::1%eth0", "unix:", "unix:/" + "x" * 107, "tcp:80"),
            "unix:~nobody-has-this-name/api",
        ):
            with self.assertRaises(ValueError, msg=text):
                parse_address(text)
