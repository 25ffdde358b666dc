"""Store connections in Airflow's metadata database, where their passwords are encrypted."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.stack.files import write_private

VARIABLE = "SINEW_CONNECTIONS"


def given(text: str) -> dict[str, Any]:
    """The connections in the variable's text; none when it is empty.

    The text is never shown: it has passwords in it.
    """
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SystemExit(
            f"{VARIABLE} is not a JSON object ({len(text)} characters seen); allowed: what "
            "`airflow connections import` reads. Correct it in .env, on one line in single quotes."
        )
    return found


def store(connections: Mapping[str, Any]) -> None:
    """Add the connections, replacing those of the same name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "connections.json"
        write_private(file, json.dumps(connections))
        command = ["airflow", "connections", "import", "--overwrite", str(file)]
        subprocess.run(command, check=True)


def main() -> None:
    """Store the connections of the variable ``SINEW_CONNECTIONS``, if there are any."""
    connections = given(os.environ.get(VARIABLE, ""))
    if connections:
        store(connections)


if __name__ == "__main__":
    main()
