"""Changes of contacts, each within the caller's transaction. Bodies stay to the byte what was sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from demo.shop.api.contact_rules import Refused, check, external_id_of
from demo.shop.api.timestamps import now


@dataclass(frozen=True)
class Change:
    """One contact to be changed: what is asked, for whom, and the record as JSON text."""

    operation: str
    contact: Mapping[str, Any]
    text: str
    external_id: str | None = None  # from the path; else it is the record's


@dataclass(frozen=True)
class Done:
    """What became of a change: refused when there is an error."""

    status: int
    external_id: str | None
    id: int | None = None
    body: bytes = b""
    refused: Refused | None = None


def apply(connection: sqlite3.Connection, change: Change) -> Done:
    """Do one change, or say why not; nothing is half done."""
    external_id = change.external_id
    try:
        if external_id is None:
            external_id = external_id_of(change.contact)
        elif change.contact.get("external_id", external_id) != external_id:
            raise Refused(422, "id_mismatch", "external_id in the body is not the one in the path")
        if change.operation not in OPERATIONS:
            raise Refused(422, "invalid_operation", f"operation must be one of {list(OPERATIONS)}")
        return OPERATIONS[change.operation](connection, change, external_id)
    except Refused as refused:
        return Done(refused.status, external_id, refused=refused)


def _create(connection: sqlite3.Connection, change: Change, external_id: str) -> Done:
    check(change.contact, whole=True)
    if _number(connection, external_id) is not None:
        raise Refused(409, "already_exists", "a contact with this external_id exists")
    return _insert(connection, change, external_id)


def _upsert(connection: sqlite3.Connection, change: Change, external_id: str) -> Done:
    check(change.contact, whole=True)
    number = _number(connection, external_id)
    if number is None:
        return _insert(connection, change, external_id)
    return _store(connection, number, external_id, "?", change.text, 200)


def _update(connection: sqlite3.Connection, change: Change, external_id: str) -> Done:
    check(change.contact, whole=False)
    number = _known(connection, external_id)
    # RFC 7396: members that are given replace, null takes away, the rest stays.
    return _store(connection, number, external_id, "json_patch(body, ?)", change.text, 200)


def _delete(connection: sqlite3.Connection, change: Change, external_id: str) -> Done:
    number = _known(connection, external_id)
    connection.execute("DELETE FROM contacts WHERE id = ?", (number,))
    return Done(204, external_id, number)


def _insert(connection: sqlite3.Connection, change: Change, external_id: str) -> Done:
    at = now()
    number = connection.execute(
        "INSERT INTO contacts (created_at, updated_at, body, external_id) VALUES (?, ?, '{}', ?)",
        (at, at, external_id),
    ).lastrowid
    assert number is not None
    return _store(connection, number, external_id, "?", change.text, 201)


def _store(
    connection: sqlite3.Connection, number: int, external_id: str, body: str, text: str, status: int
) -> Done:
    """Write a contact; the server's own members stand in its body whatever was sent for them."""
    (stored,) = connection.execute(
        f"UPDATE contacts SET updated_at = ?, body = json_set(json_remove({body}, '$.operation'),"
        " '$.id', id, '$.external_id', external_id, '$.created_at', created_at, '$.updated_at', ?)"
        " WHERE id = ? RETURNING CAST(body AS BLOB)",
        (at := now(), text, at, number),
    ).fetchone()
    return Done(status, external_id, number, stored)


def _number(connection: sqlite3.Connection, external_id: str) -> int | None:
    row = connection.execute(
        "SELECT id FROM contacts WHERE external_id = ?", (external_id,)
    ).fetchone()
    return row[0] if row else None


def _known(connection: sqlite3.Connection, external_id: str) -> int:
    number = _number(connection, external_id)
    if number is None:
        raise Refused(404, "not_found", "there is no contact with this external_id")
    return number


OPERATIONS: dict[str, Callable[[sqlite3.Connection, Change, str], Done]] = {
    "create": _create,
    "upsert": _upsert,
    "update": _update,
    "delete": _delete,
}
