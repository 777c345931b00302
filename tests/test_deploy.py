"""The files in deploy/: that they fit the daemon."""

import json
import re
import shlex
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.client.api.serve import LEAVE_TIME, STOP_TIME
from securechat.client.exit_codes import ExitCode
from securechat.client.options import parse
from securechat.errors import Category
from securechat.server.log_format import line_of
from securechat.server.sd_notify import STOP_MARGIN
from securechat.server.settings import ServerSettings
from securechat.tap import Options
from tests.harness.pair import NAME
from tests.server.test_protocol import SERVER, Listed, ServerTestCase, Session, Wire

try:
    import kubernetes_validate
except ImportError:
    kubernetes_validate = None

DEPLOY = Path(__file__).parents[1] / "deploy"
# What fail2ban makes of <ADDR>, nearly; it removes the date from a line before it is searched.
ADDRESS = r"(?P<address>[0-9a-f.:]+)"
DATE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")
NOT_COUNTED = {  # categories of honest clients, and those that only a client uses
    *(Category.TIMEOUT, Category.LIMIT, Category.CUT),
    *(Category.SEAL, Category.HOST_KEY),
}


class Mallory(Listed):
    """A user whose name looks like a log line."""

    def name_of(self, blob: bytes) -> str:
        return "client 9 from [192.0.2.99]:9: aborted (framing)"


class Fail2banTests(ServerTestCase):
    """The filter for fail2ban, with lines of the real log."""

    def setUp(self) -> None:
        super().setUp()
        config = ConfigParser()
        config.read(DEPLOY / "fail2ban/filter.d/securechat.conf")
        self.pattern = re.compile(config["Definition"]["failregex"].replace("<ADDR>", ADDRESS))

    def counted(self, prefix: str = "") -> list[str]:
        """The addresses that are counted for the lines since the last call."""
        lines = [line_of(event) or "" for event in self.logged]
        self.logged.clear()
        found = [self.pattern.search(prefix + DATE.sub("", line)) for line in lines]
        return [match["address"] for match in found if match]

    def abort(self, address: IAddress, category: Category) -> None:
        session = Session(self.factory, wire=Wire(address, SERVER))
        session.server._log.aborted(category, self.clock.seconds())
        session.lose()
        self.logged[:] = [event for event in self.logged if event.get("event") == "aborted"]

    def test_categories(self) -> None:
        """Categories that mean an attack are counted, with IPv4 and IPv6, and no others."""
        self.factory = self.make_factory(handshake_burst=1000, names=(NAME,))
        for address in (IPv4Address("TCP", "192.0.2.7", 5), IPv6Address("TCP", "2001:db8::7", 5)):
            for category in Category:
                self.abort(address, category)
                expected = [] if category in NOT_COUNTED else [address.host]
                self.assertEqual(self.counted(), expected, category)

    def test_admitted(self) -> None:
        """An admitted client that breaks the protocol is counted; one that leaves is not, whatever its name."""
        self.factory = self.make_factory(users=Mallory())
        session = Session(self.factory).open()
        session.lose()
        self.assertEqual(self.counted(), [])
        Session(self.factory).open().server.dataReceived(b"garbage")
        self.assertEqual(self.counted(), ["192.0.2.7"])

    def test_journal(self) -> None:
        """In the journal, a line has the host and the program before it."""
        self.abort(IPv4Address("TCP", "192.0.2.7", 5), Category.PROOF)
        self.assertEqual(self.counted(" chat twistd[12]: 2026-01-31T10:00:00+0000"), ["192.0.2.7"])


def parse_daemon(command: list[str]) -> Any:
    """The settings of the daemon with this command line."""
    options = Options()
    options.parseOptions(command[command.index("securechat") + 1 :])
    return options.settings


class CommandTests(SynchronousTestCase):
    """The command lines that start the daemon and the client."""

    def test_unit(self) -> None:
        """The options in the unit exist, and the daemon is neither root nor able to become it."""
        text = (DEPLOY / "systemd/securechat.service").read_text().replace("\\\n", " ")
        start = re.search("^ExecStart=(.*)$", text, re.MULTILINE)
        assert start is not None
        settings = parse_daemon(shlex.split(start[1]))
        self.assertEqual(settings.names, ("[chat.example.org]:8080",))
        for line in ("Type=notify", "DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "LimitCORE=0"):
            self.assertIn(f"\n{line}\n", text)
        stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
        assert stop is not None
        self.assertGreater(int(stop[1]), settings.drain + 15)

    def test_userUnit(self) -> None:
        """So do those of the client's unit; it is not started again if that would not help, and has time to stop."""
        text = (DEPLOY / "systemd/securechat-serve.service").read_text()
        start = re.search("^ExecStart=(.*)$", text, re.MULTILINE)
        assert start is not None
        settings = parse(shlex.split(start[1])[1:])
        self.assertEqual(str(settings.serve), "127.0.0.1:11435")
        codes = (ExitCode.USAGE, ExitCode.NOT_TRUSTED, ExitCode.NO_API)
        self.assertIn("\nRestartPreventExitStatus={} {} {}\n".format(*map(int, codes)), text)
        stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
        assert stop is not None
        self.assertGreater(int(stop[1]), STOP_TIME + LEAVE_TIME)

    def test_container(self) -> None:
        """So do those in the container file."""
        text = (DEPLOY / "container/Containerfile").read_text().replace("\\\n", " ")
        start = re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
        assert start is not None
        self.assertEqual(parse_daemon(json.loads(start[1])).listen, ("tcp:8080",))
        self.assertRegex(text, r"(?m)^USER [1-9]")


class HAProxyTests(SynchronousTestCase):
    """The configuration of HAProxy."""

    def setUp(self) -> None:
        self.text = re.sub(r"\s*#.*", "", (DEPLOY / "haproxy.cfg").read_text())

    def seconds(self, name: str) -> int:
        found = re.search(rf"^ *timeout {name} (\d+)([sm])$", self.text, re.MULTILINE)
        assert found is not None, name
        return int(found[1]) * {"s": 1, "m": 60}[found[2]]

    def test_timeouts(self) -> None:
        """The daemon ends idle sessions before HAProxy does, and a dead one costs less than the time for a Hello."""
        settings = ServerSettings()
        for name in ("client", "server"):
            self.assertGreater(self.seconds(name), settings.idle_timeout)
        self.assertLess(self.seconds("connect"), settings.hello_timeout)

    def test_drain(self) -> None:
        """Sessions of a daemon that drains are not cut, and a connection that it refuses goes to another daemon."""
        self.assertNotIn("shutdown-sessions", self.text)
        self.assertRegex(self.text, r"(?m)^ *option redispatch 1$")
        self.assertRegex(self.text, r"(?m)^ *option httpchk GET /readyz$")


# Versions of Kubernetes: the newest whose schemas the tool has, and the oldest that has all fields of the manifests.
KUBERNETES = ("1.37", "1.30")


class KubernetesTests(SynchronousTestCase):
    """The manifests for Kubernetes: each file has one object."""

    def setUp(self) -> None:
        files = sorted((DEPLOY / "kubernetes").iterdir())
        objects: list[dict[str, Any]] = [msgspec.yaml.decode(path.read_bytes()) for path in files]
        self.objects = {found["kind"]: found for found in objects}
        self.assertEqual(len(self.objects), len(files))
        self.template = self.objects["Deployment"]["spec"]["template"]
        self.pod = self.template["spec"]
        [self.container] = self.pod["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def settings(self) -> Any:
        """Those of the command line, with the configuration file of the ConfigMap."""
        command = self.container["command"]
        path = Path(self.mktemp())
        path.write_text(self.objects["ConfigMap"]["data"][Path(command[-1]).name])
        return parse_daemon([*command[:-1], str(path)])

    def test_schemas(self) -> None:
        """The API server would accept all of them, without unknown fields."""
        if kubernetes_validate is None:
            raise SkipTest("kubernetes-validate is not installed; make manifests installs it")
        for version in KUBERNETES:
            for found in self.objects.values():
                kubernetes_validate.validate(found, version, strict=True)
        self.container["readinessProb"] = {}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(self.objects["Deployment"], KUBERNETES[0], strict=True)

    def test_options(self) -> None:
        """The options exist, and the ports are those of the container."""
        settings = self.settings()
        self.assertTrue(settings.has_users)
        self.assertEqual(settings.listen, (f"tcp:{self.ports['chat']}",))
        self.assertEqual(settings.metrics, f"tcp:{self.ports['metrics']}")

    def test_files(self) -> None:
        """The files that the configuration names are in the ConfigMap and the Secret, and these are mounted."""
        settings = self.settings()
        mounts = {Path(mount["mountPath"]): mount["name"] for mount in self.container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        for path, kind in ((settings.authorized_keys, "ConfigMap"), (settings.host_key, "Secret")):
            found = self.objects[kind]
            volume = volumes[mounts[path.parent]]
            name = volume["configMap"]["name"] if kind == "ConfigMap" else volume["secret"]["secretName"]
            self.assertEqual(name, found["metadata"]["name"])
            self.assertIn(path.name, found["data" if kind == "ConfigMap" else "stringData"])
        for path in (settings.state_dir, settings.control.parent):
            self.assertIn("emptyDir", volumes[mounts[path]])

    def test_drain(self) -> None:
        """The grace period has room for the preStop hook, for replies in progress and for silent clients."""
        program, seconds = self.container["lifecycle"]["preStop"]["exec"]["command"]
        self.assertEqual(program, "sleep")
        needed = int(seconds) + self.settings().drain + STOP_MARGIN
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], needed)
        rolling = self.objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]
        self.assertEqual(rolling["maxUnavailable"], 0)
        self.assertEqual(self.objects["PodDisruptionBudget"]["spec"]["maxUnavailable"], 1)

    def test_probes(self) -> None:
        """A daemon that drains gets no new clients, and is not restarted."""
        probes = {name: self.container[name]["httpGet"] for name in self.container if name.endswith("Probe")}
        paths = {name: probe["path"] for name, probe in probes.items()}
        self.assertEqual(paths, {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"})
        self.assertEqual({probe["port"] for probe in probes.values()}, {"metrics"})

    def test_privileges(self) -> None:
        """The daemon is not root, cannot become it, and writes only state and its control socket."""
        self.assertTrue(self.pod["securityContext"]["runAsNonRoot"])
        self.assertFalse(self.pod["automountServiceAccountToken"])
        context = self.container["securityContext"]
        self.assertFalse(context["allowPrivilegeEscalation"])
        self.assertTrue(context["readOnlyRootFilesystem"])
        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
        writable = [mount["name"] for mount in self.container["volumeMounts"] if not mount.get("readOnly")]
        self.assertEqual(writable, ["state", "run"])
        [user] = re.findall(r"(?m)^USER (\d+):\d+$", (DEPLOY / "container/Containerfile").read_text())
        self.assertEqual(self.pod["securityContext"]["runAsUser"], int(user))

    def test_selectors(self) -> None:
        """All objects mean the same pods, and the ports that they name exist."""
        labels = self.template["metadata"]["labels"]
        specs = {kind: found["spec"] for kind, found in self.objects.items() if "spec" in found}
        for kind in ("Deployment", "PodDisruptionBudget"):
            self.assertEqual(specs[kind]["selector"]["matchLabels"], labels)
        self.assertEqual(specs["Service"]["selector"], labels)
        self.assertEqual(specs["NetworkPolicy"]["podSelector"]["matchLabels"], labels)
        rules = specs["NetworkPolicy"]["ingress"]
        self.assertEqual([port["port"] for rule in rules for port in rule["ports"]], [*self.ports])
        self.assertNotIn("from", rules[0])
        self.assertIn("from", rules[1])
        self.assertEqual([port["targetPort"] for port in specs["Service"]["ports"]], ["chat"])


class ComposeTests(SynchronousTestCase):
    """The compose file: HAProxy and two daemons."""

    def setUp(self) -> None:
        self.file = msgspec.yaml.decode((DEPLOY / "compose.yaml").read_bytes())
        services = self.file["services"]
        self.haproxy = services.pop("haproxy")
        self.daemons = services

    def test_daemons(self) -> None:
        """The options exist, only HAProxy is believed, and replies have time to end."""
        for service in self.daemons.values():
            settings = parse_daemon([*service["entrypoint"], *service["command"]])
            self.assertEqual(settings.proxy_from, (f"{self.haproxy['networks']['chat']['ipv4_address']}/32",))
            self.assertTrue(settings.has_users)
            self.assertGreater(int(service["stop_grace_period"].removesuffix("s")), settings.drain + STOP_MARGIN)
            self.assertTrue(service["read_only"])
            self.assertIn(f"state:{settings.state_dir}", service["volumes"])
            self.assertEqual(service["cap_drop"], ["ALL"])

    def test_addresses(self) -> None:
        """HAProxy reaches the daemons and their metrics with its configuration as it is."""
        text = (DEPLOY / "haproxy.cfg").read_text()
        servers = [f"{service['networks']['chat']['ipv4_address']}:8080" for service in self.daemons.values()]
        self.assertEqual(re.findall(r"(?m)^ *server \w+ (\S+)$", text), servers)
        [port] = re.findall(r"(?m)^ *default-server .*check port (\d+)", text)
        for service in self.daemons.values():
            settings = parse_daemon([*service["entrypoint"], *service["command"]])
            self.assertEqual(settings.metrics, f"tcp:{port}")
            self.assertEqual(settings.listen, ("haproxy:tcp:8080",))
