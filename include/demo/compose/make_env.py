"""Write ``.env`` for docker-compose.yaml: .env.example with a new secret for each empty value.

    python3 include/demo/compose/make_env.py [FILE]

Needs nothing but Python, so that it runs on a machine that has only Docker besides.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_EMPTY = re.compile(r"^([A-Z][A-Z0-9_]*)=$", re.MULTILINE)


def filled(example: str) -> str:
    """The text of .env.example with a fresh secret after each ``NAME=``."""
    return _EMPTY.sub(lambda found: f"{found[1]}={_secret(found[1])}", example)


def _secret(name: str) -> str:
    if name.endswith("FERNET_KEY"):
        return base64.urlsafe_b64encode(os.urandom(32)).decode("ascii")
    # Hexadecimal digits need no quoting in an address, a shell or a command line.
    return secrets.token_hex(32)


def main(arguments: list[str]) -> int:
    """Write the file, which must not exist, with mode 600; returns the exit code."""
    path = Path(arguments[0]) if arguments else ROOT / ".env"
    text = filled((ROOT / ".env.example").read_text(encoding="utf-8"))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(
            f"{path} exists already, and its secrets may be in use. A new file is only written "
            "where there is none: keep it, or move it away and run this again.",
            file=sys.stderr,
        )
        return 1
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"{path} is written. The user of the UI is admin; the password is in that file.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
