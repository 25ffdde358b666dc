"""Write the password of the user ``admin`` where Airflow's SimpleAuthManager reads it."""

from __future__ import annotations

import os
from pathlib import Path

from demo.stack.airflow_settings import USER
from demo.stack.files import write_json

_FILE = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"


def main() -> None:
    """Replace the passwords file with what ``SINEW_ADMIN_PASSWORD`` says."""
    write_json(Path(os.environ[_FILE]), {USER: os.environ["SINEW_ADMIN_PASSWORD"]})


if __name__ == "__main__":
    main()
