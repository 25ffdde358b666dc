"""What Airflow is told of this package as a provider: one connection type, with its form."""

from __future__ import annotations

from typing import Any

from sinew.hooks.api_form import FIELDS

_HOOK = "sinew.hooks.http_hook.OAuth2HttpHook"


def get_provider_info() -> dict[str, Any]:
    """For the entry point ``apache_airflow_provider``; loads neither the hook nor requests."""
    return {
        "package-name": "sinew",
        "name": "Sinew",
        "description": "HTTP APIs with every useful way to authenticate.",
        "hooks": [
            {"integration-name": "Sinew", "python-modules": ["sinew.hooks.http_hook"]},
        ],
        "connection-types": [
            {
                "connection-type": "sinew_http",
                "hook-class-name": _HOOK,
                "hook-name": "HTTP API (Sinew)",
                "ui-field-behaviour": _BEHAVIOUR,
                "conn-fields": {
                    name: {
                        "label": field.label,
                        "description": field.description,
                        "schema": dict(field.schema),
                    }
                    for name, field in FIELDS.items()
                },
            }
        ],
    }


_BEHAVIOUR = {
    "hidden-fields": ["schema", "port"],
    "relabeling": {
        "host": "Base URL",
        "login": "Login, client id or key id",
        "password": "Password, client secret, token or key",
    },
    "placeholders": {"host": "https://api.example.com/v1"},
}
