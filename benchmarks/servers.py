"""The servers of a row, started as their users start them and ended with the block; each logs to a file."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.certificates import write_certificate
from benchmarks.process import LOAD_CORE, SERVER_CORE, Server
from tests.harness.daemon import ENVIRON, Daemon

MANY: Final = "100000"
NO_LIMITS: Final = (  # that one address with many clients would reach
    *("--max-sessions", MANY, "--max-sessions-per-source", MANY, "--max-sessions-per-user", MANY),
    *("--max-handshakes", MANY, "--max-handshakes-per-source", MANY),
    *("--handshake-burst", MANY, "--handshake-rate", MANY, "--message-burst", MANY, "--message-rate", MANY),
    *("--call-burst", MANY, "--call-rate", MANY),
)
LISTENING: Final = re.compile(r"starting on (\d+)$", re.MULTILINE)  # in the log of twistd
START_TIMEOUT: Final = 30.0  # seconds
STOP_TIMEOUT: Final = 10.0
API_KEY: Final = "sk-0123456789abcdef"
NGINX: Final = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")

NGINX_CONFIGURATION: Final = """
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
worker_processes 1;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_authorization $user {{ default ""; "Bearer {key}" someone; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location / {{
            if ($user = "") {{ return 401; }}
            proxy_pass http://127.0.0.1:{model};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


def logged_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until twistd listens; the port."""
    end = time.monotonic() + START_TIMEOUT
    text = ""
    while time.monotonic() < end and process.poll() is None:
        text = log.read_text() if log.exists() else ""
        if found := LISTENING.search(text):
            return int(found[1])
        time.sleep(0.002)
    raise ChildProcessError(f"twistd did not start listening: {text}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, or kill it if it does not end."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(daemon: Daemon) -> Server:
    """Wait until a daemon listens, and keep it on the servers' core."""
    os.sched_setaffinity(daemon.process.pid, {SERVER_CORE})
    return Server(daemon.process.pid, logged_port(daemon.process, daemon.log))


@contextmanager
def limited_securechat(*options: str) -> Iterator[tuple[Server, Daemon]]:
    """The daemon under ``twistd securechat`` with its own limits, as it is observed and as it was started."""
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(directory, *options)
        try:
            yield run(daemon), daemon
        finally:
            end(daemon.process)


@contextmanager
def securechat(*options: str, tick: str = "0.1") -> Iterator[Server]:
    """The daemon under ``twistd securechat`` without limits for one address."""
    with limited_securechat("--tick", tick, *NO_LIMITS, *options) as (server, _daemon):
        yield server


@contextmanager
def local_api(daemon_port: int, *options: str) -> Iterator[Server]:
    """``securechat --serve`` with `API_KEY` and its log in a file; the daemon needs ``--api``."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        log, key, port = directory / "log", directory / "key", free_port()
        key.touch(0o600)
        key.write_text(API_KEY)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "securechat.client", f"127.0.0.1:{daemon_port}"),
                    *("--accept-new", "--known-hosts", str(directory / "known_hosts")),
                    *("--serve", str(port), "--serve-key-file", str(key), *options),
                ],
                env=ENVIRON,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        try:
            os.sched_setaffinity(process.pid, {SERVER_CORE})
            limit = time.monotonic() + START_TIMEOUT
            while "serving the API" not in log.read_text():
                if process.poll() is not None or time.monotonic() > limit:
                    raise ChildProcessError(f"securechat --serve did not start: {log.read_text()}")
                time.sleep(0.01)
            yield Server(process.pid, port)
        finally:
            end(process)


def free_port() -> int:
    """A port of the loopback interface on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def twisted_echo(**environ: str) -> Iterator[Server]:
    """`benchmarks.echo_server` under ``twistd``."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        script = str(Path(__file__).with_name("echo_server.py"))
        process = subprocess.Popen(
            [sys.executable, *Daemon.program, "-n", "--logfile", str(log), "--pidfile=", "-y", script],
            env={**ENVIRON, **environ},
        )
        try:
            os.sched_setaffinity(process.pid, {SERVER_CORE})
            yield Server(process.pid, logged_port(process, log))
        finally:
            end(process)


@contextmanager
def twisted_tls(client_certificate: Path | None = None) -> Iterator[Server]:
    """Twisted's TLS with its defaults; with a certificate, clients must have it."""
    with tempfile.TemporaryDirectory() as directory:
        environ = {"CERTIFICATE": str(write_certificate(Path(directory) / "server.pem"))}
        if client_certificate is not None:
            environ["CLIENT_CERTIFICATE"] = str(client_certificate)
        with twisted_echo(**environ) as server:
            yield server


@contextmanager
def nginx(model_port: int) -> Iterator[Server]:
    """nginx between TLS 1.3 with an API key and the model's server, without buffering; `NGINX` is its path."""
    assert NGINX is not None
    with tempfile.TemporaryDirectory() as name, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        port = listener.getsockname()[1]
        directory = Path(name)
        certificate = write_certificate(directory / "server.pem")
        configuration = directory / "nginx.conf"
        configuration.write_text(
            NGINX_CONFIGURATION.format(
                directory=name, certificate=certificate, key=API_KEY, port=port, model=model_port
            )
        )
        process = subprocess.Popen(
            [NGINX, "-c", str(configuration), "-e", str(directory / "error.log")],
            pass_fds=[listener.fileno()],
            env={**os.environ, "NGINX": f"{listener.fileno()};"},  # it takes over this listening socket
        )
        try:
            os.sched_setaffinity(process.pid, {SERVER_CORE})
            server = Server(process.pid, port)
            start = time.monotonic()
            while len(server.processes()) < 2:
                if process.poll() is not None or time.monotonic() > start + START_TIMEOUT:
                    raise ChildProcessError(f"nginx did not start: {(directory / 'error.log').read_text()}")
                time.sleep(0.01)
            for pid in server.processes():
                os.sched_setaffinity(pid, {SERVER_CORE})
            yield server
        finally:
            end(process)


@contextmanager
def model_server(rate: float) -> Iterator[int]:
    """`benchmarks.model` on the core of the load; yields its port."""
    command = [sys.executable, "-m", "benchmarks.model", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRON) as process:
        assert process.stdout is not None
        try:
            os.sched_setaffinity(process.pid, {LOAD_CORE})
            yield int(process.stdout.readline())
        finally:
            end(process)
