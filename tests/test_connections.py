"""Connections as endpoints: what libpq is told, and what nobody is."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from sinew.errors import ConfigurationError
from sinew.hooks.connections import endpoint_from_env

SECRET = "s3cret@/:?#"
URI = "postgres://me:s3cret%40%2F%3A%3F%23@db.example:5433/shop?sslmode=require"


def told(monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """The message that a bad variable gets."""
    monkeypatch.setenv("AIRFLOW_CONN_OLD", text)
    with pytest.raises(ConfigurationError) as raised:
        endpoint_from_env("old")
    return str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        URI,
        '{"conn_type": "postgres", "host": "db.example", "port": 5433, "login": "me", '
        '"password": "s3cret@/:?#", "schema": "shop", "extra": {"sslmode": "require"}}',
        '{"conn_type": "postgres", "host": "db.example", "port": "5433", "login": "me", '
        '"password": "s3cret@/:?#", "schema": "shop", "extra": "{\\"sslmode\\": \\"require\\"}"}',
    ],
)
def test_a_uri_and_json_mean_the_same(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OLD", text)
    assert conninfo_to_dict(endpoint_from_env("old").conninfo) == {
        "host": "db.example",
        "port": "5433",
        "user": "me",
        "password": SECRET,
        "dbname": "shop",
        "sslmode": "require",
    }


def test_the_password_is_not_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OLD", URI)
    assert "s3cret" not in repr(endpoint_from_env("old"))


def test_a_missing_connection_says_how_to_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_OLD", raising=False)
    with pytest.raises(ConfigurationError, match="airflow connections add old --conn-uri"):
        endpoint_from_env("old")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (URI.replace("postgres:", "mysql:"), "'mysql'"),
        ("{s3cret", "neither as a URI nor as JSON"),
        ("postgres://me:s3cret@host:port/shop", "neither as a URI nor as JSON"),
        (URI.replace("sslmode", "sslmod"), "sslmod"),
    ],
)
def test_a_connection_that_cannot_serve_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, text: str, word: str
) -> None:
    message = told(monkeypatch, text)
    assert word in message
    assert "s3cret" not in message
