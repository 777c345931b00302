"""``python -m fuzz [--runs N] [TARGET…]``: coverage-guided fuzzing with atheris, each target in a process of its own.

Prints a line for each: its name, runs, seconds, and whether anything came out that should not. What is found goes on
below ``build/fuzz``; the seeds, small and made anew each time, come from `targets.seeds`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

FOUND: Final = Path("build/fuzz")


def run(name: str) -> None:
    """Fuzz one target; libFuzzer's options are in sys.argv and it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["securechat"]):
        from fuzz.targets import TARGETS
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


def corpus(name: str, seeds: list[bytes]) -> Path:
    """A directory with the target's seeds."""
    directory = FOUND / name
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (directory / f"seed-{number}").write_bytes(seed)
    return directory


def main() -> None:
    from fuzz.targets import TARGETS, seeds

    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    right = seeds()
    failed = False
    print("| target | runs | seconds | result |\n|---|---:|---:|---|", flush=True)
    for name in arguments.targets or TARGETS:
        directory = corpus(name, right[name])
        options = [f"-runs={arguments.runs}", f"-seed={arguments.seed}", "-max_len=2048", "-timeout=5"]
        command = [sys.executable, "-m", "fuzz", "--child", name, *options, f"-artifact_prefix={directory}-"]
        start = time.monotonic()
        done = subprocess.run([*command, str(directory)], capture_output=True, text=True)
        result = "nothing found" if done.returncode == 0 else f"FOUND: see {directory}-*"
        failed = failed or done.returncode != 0
        print(f"| {name} | {arguments.runs:,} | {time.monotonic() - start:.0f} | {result} |", flush=True)
        if done.returncode != 0:
            print(done.stderr[-3000:], file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child = sys.argv[2]
        sys.argv[1:3] = []
        run(child)
    else:
        main()
