"""The marketing API: contacts, one by one or in bulk, with idempotency keys and a log of all writes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response

from demo.shop.api.answers import ApiProblem, answer, dumped
from demo.shop.api.collection import Collection
from demo.shop.api.contact_rules import Refused, parsed
from demo.shop.api.contacts import Change, Done, apply
from demo.shop.api.control import Control
from demo.shop.api.paging import Listing
from demo.shop.api.store import Store
from demo.shop.api.write_log import Arrival, log

_LONGEST_KEY = 255
Result = tuple[int, bytes, list[tuple[str, Done]]]


class ContactRoutes:
    """Handlers over one store."""

    def __init__(self, store: Store, control: Control) -> None:
        self._store, self._control = store, control

    async def listed(self, request: Request) -> Response:
        """``GET /contacts``: a page of contacts, in any of the shop's styles."""
        asked = dict(request.query_params)
        rows = Collection.of(self._store, "contacts", asked)
        origin = f"{request.url.scheme}://{request.url.netloc}"
        return Listing.read(rows, self._control.pages, asked, origin, request.url.path).response()

    async def one(self, request: Request) -> Response:
        """``GET /contacts/{external_id}``."""
        body = self._store.value(
            "SELECT CAST(body AS BLOB) FROM contacts WHERE external_id = ?",
            (request.path_params["external_id"],),
        )
        if body is None:
            raise ApiProblem(404, "not_found", "there is no contact with this external_id")
        return answer(body)

    async def create(self, request: Request) -> Response:
        """``POST /contacts``: 201; 409 when the external_id is known."""
        return self._single(request.state.arrival, "create", None)

    async def put(self, request: Request) -> Response:
        """``PUT /contacts/{external_id}``: 201 or 200, whole record."""
        return self._single(request.state.arrival, "upsert", request.path_params["external_id"])

    async def patch(self, request: Request) -> Response:
        """``PATCH /contacts/{external_id}``: 200, some members (RFC 7396); 404 when unknown."""
        return self._single(request.state.arrival, "update", request.path_params["external_id"])

    async def delete(self, request: Request) -> Response:
        """``DELETE /contacts/{external_id}``: 204; 404 when unknown."""
        return self._single(request.state.arrival, "delete", request.path_params["external_id"])

    async def bulk(self, request: Request) -> Response:
        """``POST /contacts/bulk``: ``{"contacts": [{"operation": "upsert", ...}, ...]}``.

        Each record is taken or refused for itself; ``operation`` is upsert when it is left out.
        """
        arrival: Arrival = request.state.arrival
        return self._write(arrival, lambda connection: self._bulk(connection, arrival))

    def _single(self, arrival: Arrival, operation: str, external_id: str | None) -> Response:
        def work(connection: sqlite3.Connection) -> Result:
            contact = {} if operation == "delete" else parsed(arrival.body)
            change = Change(operation, contact, arrival.body.decode(), external_id)
            done = apply(connection, change)
            if done.refused:
                raise _Refusal(done.refused, [(operation, done)])
            return done.status, done.body, [(operation, done)]

        return self._write(arrival, work)

    def _bulk(self, connection: sqlite3.Connection, arrival: Arrival) -> Result:
        """Apply each record; each one's text comes from SQLite, which leaves numbers as they are."""
        writing = self._control.writing
        records = parsed(arrival.body).get("contacts")
        if not isinstance(records, list):
            raise Refused(400, "bad_json", "the body has no array `contacts`")
        if len(records) > writing.bulk_size:
            raise Refused(413, "too_many", f"at most {writing.bulk_size} contacts a request")
        texts = connection.execute(
            "SELECT value FROM json_each(?, '$.contacts')", (arrival.body.decode(),)
        ).fetchall()
        done = [_record(connection, r, t) for r, (t,) in zip(records, texts, strict=True)]
        results = [_result(index, one) for index, (_, one) in enumerate(done)]
        if writing.bulk_shuffled:
            results.sort(key=lambda result: hashlib.sha256(dumped(result)).digest())
        refused = any(one.refused for _, one in done)
        status = writing.bulk_status if refused else 200
        return status, dumped({"results": results}), done

    def _write(self, arrival: Arrival, work: Callable[[sqlite3.Connection], Result]) -> Response:
        """Work, its log, and the answer to its key: one transaction, or none of it."""
        with self._store.writing() as connection:
            try:
                known = self._known_answer(connection, arrival)
                if known:
                    log(connection, arrival, "replayed", known[0])
                    return _response(*known, replayed=True)
                status, body, changes = work(connection)
                outcome = "applied"
            except Refused as refused:
                status, body = refused.status, _problem(refused)
                changes = refused.changes if isinstance(refused, _Refusal) else []
                outcome = "refused"
                if refused.code.startswith("idempotency_"):
                    log(connection, arrival, outcome, status)
                    return _response(status, body)
            number = log(connection, arrival, outcome, status)
            _log_changes(connection, number, changes)
            _keep_answer(connection, arrival, status, body)
            return _response(status, body)

    def _known_answer(
        self, connection: sqlite3.Connection, arrival: Arrival
    ) -> tuple[int, bytes] | None:
        """The answer that this key got before; refuses a key that was used for something else."""
        if arrival.key is None:
            if self._control.writing.key_required:
                raise Refused(400, "idempotency_key_missing", "send an Idempotency-Key")
            return None
        if not 0 < len(arrival.key) <= _LONGEST_KEY:
            raise Refused(
                400, "idempotency_key_invalid", f"a key has 1 to {_LONGEST_KEY} characters"
            )
        row = connection.execute(
            "SELECT fingerprint, status, body FROM answer WHERE owner = ? AND idempotency_key = ?",
            (arrival.owner, arrival.key),
        ).fetchone()
        if row and row[0] != arrival.fingerprint:
            raise Refused(
                422, "idempotency_key_reused", "this key came before with another request"
            )
        return (row[1], row[2]) if row else None


class _Refusal(Refused):
    """A single change that was refused, with what the log says of it."""

    def __init__(self, refused: Refused, changes: list[tuple[str, Done]]) -> None:
        super().__init__(refused.status, refused.code, refused.detail)
        self.changes = changes


def _record(connection: sqlite3.Connection, record: Any, text: Any) -> tuple[str, Done]:
    if not isinstance(record, dict):
        return "upsert", Done(422, None, refused=Refused(422, "bad_json", "no JSON object"))
    operation = str(record.get("operation", "upsert"))
    return operation, apply(connection, Change(operation, record, text))


def _result(index: int, done: Done) -> dict[str, Any]:
    result: dict[str, Any] = {
        "index": index,
        "external_id": done.external_id,
        "status": done.status,
    }
    if done.id is not None:
        result["id"] = done.id
    if done.refused:
        result["error"] = done.refused.error()
    return result


def _log_changes(
    connection: sqlite3.Connection, number: int | None, changes: list[tuple[str, Done]]
) -> None:
    connection.executemany(
        "INSERT INTO contact_change VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                number,
                position,
                one.external_id,
                operation,
                one.status,
                one.refused.code if one.refused else None,
            )
            for position, (operation, one) in enumerate(changes)
        ],
    )


def _keep_answer(
    connection: sqlite3.Connection, arrival: Arrival, status: int, body: bytes
) -> None:
    if arrival.key is not None:
        connection.execute(
            "INSERT INTO answer VALUES (?, ?, ?, ?, ?)",
            (arrival.owner, arrival.key, arrival.fingerprint, status, body),
        )


def _problem(refused: Refused) -> bytes:
    return ApiProblem(refused.status, refused.code, refused.detail).body()


def _response(status: int, body: bytes, *, replayed: bool = False) -> Response:
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    if status >= 400:
        return Response(body, status, headers, "application/problem+json")
    if status == 204:
        return Response(b"", status, headers)
    return answer(body, status, headers)


def add_contact_routes(app: FastAPI, store: Store, control: Control) -> None:
    """Put the handlers in their places."""
    routes = ContactRoutes(store, control)
    app.add_route("/contacts", routes.listed, methods=["GET"])
    app.add_route("/contacts", routes.create, methods=["POST"])
    app.add_route("/contacts/bulk", routes.bulk, methods=["POST"])
    app.add_route("/contacts/{external_id:path}", routes.one, methods=["GET"])
    app.add_route("/contacts/{external_id:path}", routes.put, methods=["PUT"])
    app.add_route("/contacts/{external_id:path}", routes.patch, methods=["PATCH"])
    app.add_route("/contacts/{external_id:path}", routes.delete, methods=["DELETE"])
