"""The files below share/, which pip installs: manual pages and completion, made from the settings.

With ``--check`` nothing is written, and the exit status is 1 if a file is out of date.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools import completion, manual

SHARE: Final = Path(__file__).parents[1] / "share"
FILES: Final[Mapping[str, Callable[[], str]]] = {
    "man/man1/securechat.1": manual.client_page,
    "man/man1/twistd-securechat.1": manual.daemon_page,
    "bash-completion/completions/securechat": completion.bash,
    "zsh/site-functions/_securechat": completion.zsh,
    "fish/vendor_completions.d/securechat.fish": completion.fish,
}


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    outdated = False
    for name, make in FILES.items():
        path, text = SHARE / name, make()
        if not path.exists() or path.read_text("utf-8") != text:
            outdated = True
            print(f"{name}: {'out of date; run make share' if check else 'updated'}")
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
    return int(check and outdated)


if __name__ == "__main__":
    sys.exit(main())
