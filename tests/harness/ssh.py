"""The real OpenSSH tools, for the tests."""

import subprocess
from pathlib import Path


def ssh_keygen(*arguments: str | Path, data: bytes = b"") -> str:
    """Run ssh-keygen; what it prints. CalledProcessError if it fails."""
    done = subprocess.run(["ssh-keygen", *map(str, arguments)], input=data, capture_output=True, check=True, timeout=60)
    return done.stdout.decode()


def make_key(path: Path, *, passphrase: str = "", kind: str = "ed25519", comment: str = "test") -> Path:
    """A key pair as a user makes it."""
    ssh_keygen("-q", "-t", kind, "-N", passphrase, "-C", comment, "-f", path)
    return path


def sign_key(ca: Path, key: Path, *options: str) -> Path:
    """The certificate for a key, as ``ssh-keygen -s`` makes it beside the key."""
    ssh_keygen("-q", "-s", ca, *options, f"{key}.pub")
    return key.with_name(f"{key.name}-cert.pub")
