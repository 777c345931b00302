"""The servers of a cell: daemons, the model server behind them, and the load beside the observed conversations."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from securechat.wire.shaping import Shaping
from sidechannel.cells import Cell, Sender
from tests.harness.daemon import START_TIMEOUT, Daemon

MANY = "100000"  # sessions and handshakes: the limits of section 13 must not affect the measurement
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
QUESTIONS = {"openai": "whole 0", "eliza": "hello"}  # asked by the load


class EpollDaemon(Daemon):
    """A daemon with Twisted's own timers."""

    program = ("-m", "sidechannel.naive")


@contextmanager
def _running(*arguments: str) -> Iterator[str]:
    """Run a program of ours until the end of the block; yields the first line that it prints."""
    with subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def _daemon(cell: Cell, directory: str, options: Sequence[str]) -> Iterator[Daemon]:
    shaping = Shaping.OFF if cell.sender is Sender.UNSHAPED else Shaping.REPLY
    make = EpollDaemon if cell.sender is Sender.EPOLL else Daemon
    daemon = make(
        directory,
        *("--shaping", shaping.value, "--tick", str(cell.tick), "--robot", cell.contrast.robot),
        *("--max-sessions", MANY, "--max-sessions-per-source", MANY),
        *("--handshake-burst", MANY, "--handshake-rate", MANY, "--max-handshakes-per-source", MANY),
        *("--message-burst", MANY, "--message-rate", MANY, "--call-burst", MANY, "--call-rate", MANY),
        *options,
    )
    _pin(daemon.process.pid, CORES[0])
    try:
        yield daemon
    finally:
        daemon.process.terminate()
        daemon.process.wait()


def _pin(pid: int, core: int) -> None:
    """Keep daemons and everything else on different cores: a model server usually is another machine, or has its own.

    On one core, its work delays the daemon, more so while it speaks.
    """
    if len(CORES) > 1:
        os.sched_setaffinity(pid, {core})


def _wait_for(daemon: Daemon) -> int:
    end = time.monotonic() + START_TIMEOUT
    while "host key SHA256:" not in daemon.text():
        if daemon.process.poll() is not None or time.monotonic() > end:
            raise TimeoutError(daemon.text() + daemon.output.read_text())
        time.sleep(0.05)
    return daemon.port


@contextmanager
def servers(cell: Cell, load: int, options: Sequence[Sequence[str]]) -> Iterator[list[int]]:
    """Run a cell's daemons, each with options of its own; yields their ports.

    `load` is the number of conversations with each of them beside those that are observed.
    """
    _pin(0, CORES[-1])
    with ExitStack() as stack:
        robot_options: list[str] = []
        if cell.contrast.robot == "openai":
            port = stack.enter_context(_running("sidechannel.model", str(cell.tick)))
            for option in (f"url=http://127.0.0.1:{port}", "model=m", "max-concurrent=10000"):
                robot_options += ("-R", option)
            if cell.contrast.stream is not None:
                robot_options += ("--api", "-R", "models=*")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        daemons = [
            stack.enter_context(_daemon(cell, str(directory / str(number)), [*robot_options, *ours]))
            for number, ours in enumerate(options)
        ]
        ports = [_wait_for(daemon) for daemon in daemons]
        if load:
            question = QUESTIONS[cell.contrast.robot]
            for port_number in ports:
                arguments = (str(port_number), str(load), str(cell.tick), question)
                stack.enter_context(_running("sidechannel.load", *arguments))
        yield ports
        for daemon in daemons:
            if daemon.process.poll() is not None:
                raise ChildProcessError(daemon.text())


def other_load() -> float:
    """CPU seconds that others have spent on this machine so far: not this process, nor its children that have ended."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, soft_irq, steal = map(int, file.readline().split()[1:9])
    spent = os.times()
    ours = spent.user + spent.system + spent.children_user + spent.children_system
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK") - ours
