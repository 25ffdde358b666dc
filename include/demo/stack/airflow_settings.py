"""What Airflow is told beyond its defaults, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from demo.stack.ports import HOST

USER = "admin"

# One machine, one person: few processes, short waits, and a dead task noticed in half a minute
# instead of five.
_FIXED = {
    "api": {
        "expose_config": "False",
        "host": HOST,
        "instance_name": "Sinew",
        "workers": "1",
    },
    "core": {
        "dags_are_paused_at_creation": "False",
        "default_task_retry_delay": "10",
        "executor": "LocalExecutor",
        "load_examples": "False",
        "min_serialized_dag_update_interval": "5",
        "parallelism": "4",
        "simple_auth_manager_users": f"{USER}:admin",
    },
    "dag_processor": {
        "min_file_process_interval": "10",
        "parsing_processes": "1",
        "refresh_interval": "10",
    },
    "database": {"load_default_connections": "False"},
    "scheduler": {
        "orphaned_tasks_check_interval": "30",
        "task_instance_heartbeat_sec": "5",
        "task_instance_heartbeat_timeout": "30",
        "task_instance_heartbeat_timeout_detection_interval": "5",
    },
}


def settings(
    *, repository: Path, home: Path, port: int, database_uri: str, secrets: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Airflow's settings by section; ``secrets`` has fernet_key, jwt_secret and secret_key."""
    own = {
        "api": {
            "base_url": f"http://{HOST}:{port}",
            "port": str(port),
            "secret_key": secrets["secret_key"],
        },
        "api_auth": {"jwt_secret": secrets["jwt_secret"]},
        "core": {
            "dags_folder": str(repository / "dags"),
            "fernet_key": secrets["fernet_key"],
            "plugins_folder": str(repository / "plugins"),
            "simple_auth_manager_passwords_file": str(home / "passwords.json"),
        },
        "database": {"sql_alchemy_conn": database_uri},
        "logging": {"base_log_folder": str(home / "logs")},
    }
    sections = sorted(_FIXED.keys() | own.keys())
    return {name: _FIXED.get(name, {}) | own.get(name, {}) for name in sections}


def as_environment(sections: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The settings as the environment variables that override airflow.cfg."""
    return {
        f"AIRFLOW__{section.upper()}__{option.upper()}": value
        for section, options in sections.items()
        for option, value in options.items()
    }
