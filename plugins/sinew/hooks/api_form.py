"""The fields of an API's connection in Airflow's form, and the ``auth`` and ``tls`` blocks that they fill.

The form writes plain keys beside each other into the extra; the library reads nested blocks. No field
of the form is secret: a secret stands in the connection's password, which Airflow encrypts and never
shows, or in a block of JSON under a name that Airflow masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sinew.auth.models import TYPES, ClientAuth, Grant
from sinew.errors import EndpointError, Problem


@dataclass(frozen=True)
class Field:
    """One field: its label, its help, its JSON Schema, and the key of ``auth`` that it fills, if any."""

    label: str
    description: str
    schema: Mapping[str, Any]
    fills: str | None = None


def _choice(values: Any) -> dict[str, Any]:
    return {"type": ["string", "null"], "enum": list(values)}


_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_JSON: dict[str, Any] = {"type": ["object", "null"]}

FIELDS: dict[str, Field] = {
    "auth_type": Field(
        "Authentication",
        "How requests prove who they are. Empty: Basic if there is a login, else none.",
        _choice(TYPES),
        "type",
    ),
    "grant": Field("OAuth grant", "How an access token is got.", _choice(get_args(Grant)), "grant"),
    "client_auth": Field(
        "OAuth client authentication",
        "How the client proves itself to the authorization server.",
        _choice(get_args(ClientAuth)),
        "client_auth",
    ),
    "issuer": Field(
        "Issuer", "URL of the authorization server, to discover its endpoints.", _TEXT, "issuer"
    ),
    # Not called token_…: Airflow would take it for a secret and mask it.
    "endpoint": Field(
        "Token endpoint", "Its URL, where there is no discovery.", _TEXT, "token_endpoint"
    ),
    "scope": Field("Scope", "Scopes, with spaces between.", _TEXT, "scope"),
    "audience": Field("Audience", "Which API the token is for.", _TEXT, "audience"),
    "auth": Field(
        "Authentication, more (JSON)",
        "Everything else of docs/authentication.md, such as "
        '{"private_key": "/run/secrets/api.pem", "key_id": "2026"}.',
        _JSON,
    ),
    "tls": Field(
        "TLS (JSON)",
        'Such as {"ca": "/etc/ssl/ca.pem", "certificate": "…", "private_key": "…", "key_passphrase": "…"}.',
        _JSON,
    ),
    "headers": Field("Headers (JSON)", "Sent with each request to the API.", _JSON),
    "timeout": Field("Time-outs (JSON)", 'In seconds: {"connect": 10, "read": 60}.', _JSON),
    "insecure_http": Field(
        "Allow http://",
        "Send secrets in clear to another machine. Only where the network itself is safe.",
        {"type": "boolean", "default": False},
    ),
}

# Other names of secrets, which Airflow masks by name where it would not mask `key`.
_MASKED_NAMES = {"auth": {"api_key": "key"}, "tls": {"private_key": "key"}}


def folded(conn_id: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The extra as the library reads it: fields put into their block, empty ones left out.

    Raises EndpointError where a field and its block say different things.
    """
    problems: list[Problem] = []
    given = {name: value for name, value in extra.items() if value not in (None, "", {})}
    _fold_fields(conn_id, extra, given, problems)
    for block, names in _MASKED_NAMES.items():
        if isinstance(given.get(block), Mapping):
            given[block] = dict(_renamed(conn_id, block, given[block], names, problems))
    if isinstance(given.get("auth"), Mapping) and isinstance(given["auth"].get("tls"), Mapping):
        inner = _renamed(conn_id, "auth.tls", given["auth"]["tls"], _MASKED_NAMES["tls"], problems)
        given["auth"] = {**given["auth"], "tls": dict(inner)}
    if problems:
        raise EndpointError(problems)
    return given


def _fold_fields(
    conn_id: str, extra: Mapping[str, Any], given: dict[str, Any], problems: list[Problem]
) -> None:
    filled = {
        name: (field.fills, given.pop(name))
        for name, field in FIELDS.items()
        if field.fills and name in given
    }
    if not filled or not isinstance(given.setdefault("auth", {}), Mapping):
        return
    if all(isinstance(value, str | None) for value in extra.values()):
        # Hooks of others send each key of an extra as a header, and the login as Basic: a value that
        # cannot be a header makes them refuse before they have sent a client's secret to an API.
        problems.append(
            Problem(
                None,
                f"connection {conn_id!r}: insecure_http: is missing beside {', '.join(filled)}; allowed: true or "
                "false, as the form writes it: add `insecure_http: false`",
            )
        )
    auth = dict(given["auth"])
    for name, (key, value) in filled.items():
        if auth.setdefault(key, value) != value:
            problems.append(
                Problem(
                    None,
                    f"connection {conn_id!r}: {name}: is {value!r}, and auth.{key} is another; allowed: one of "
                    "both: remove one",
                )
            )
    given["auth"] = auth


def _renamed(
    conn_id: str,
    path: str,
    block: Mapping[str, Any],
    names: Mapping[str, str],
    problems: list[Problem],
) -> Iterator[tuple[str, Any]]:
    # tls.private_key is a name for tls.key; auth.private_key is a setting of its own.
    for name, value in block.items():
        meant = names.get(name, name)
        if meant != name and meant in block:
            problems.append(
                Problem(
                    None,
                    f"connection {conn_id!r}: {path}.{name}: is the same as {path}.{meant}; allowed: one of both: "
                    "remove one",
                )
            )
        yield meant, value
