"""What an answer says about the rows that were sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sinew.api.documents import UnreadableError, read_document
from sinew.api.filling import UnfitError, as_text
from sinew.api.jsonpaths import MISSING, query
from sinew.api.outgoing import Outcome, OutRow
from sinew.api.refusals import excerpt_of, masked
from sinew.api.transport import REPEATED, Answer, successful
from sinew.spec.delivery import Bulk, Change, Delivery

# Statuses that speak of the row and not of the request as such; 404 does where the path names the row.
ROW_STATUSES = frozenset([400, 409, 410, 412, 413, 422, 424])
_GONE = (404, 410)
_CODES = ("code", "error_code", "type")


@dataclass(frozen=True)
class Verdict:
    """What became of one row; ``again`` says that the server asks to send it once more."""

    outcome: Outcome
    http_status: int | None = None
    remote_id: str | None = None
    code: str | None = None
    error: str | None = None
    again: bool = False
    conflict: bool = False


def done_statuses(change: Change, kind: str) -> tuple[int, ...]:
    """Statuses besides 2xx with which a row counts as sent."""
    if "done" not in change.model_fields_set and kind == "delete":
        return _GONE
    return change.done


def of_answer(delivery: Delivery, change: Change, row: OutRow, answer: Answer) -> Verdict:
    """The verdict on a row that was sent alone."""
    status, kind = answer.status, row.change
    if successful(status) or status in done_statuses(change, kind):
        root = answer.document.root if answer.document else None
        return Verdict("accepted", status, _remote_id(delivery, root))
    root = _root(answer)
    code, error = _told(root, row)
    conflict = status == 409 and kind == "create"
    if conflict and delivery.conflict == "accept":
        return Verdict("accepted", status, _remote_id(delivery, root))
    return Verdict("refused", status, None, code, error or f"status {status}", conflict=conflict)


def of_results(
    delivery: Delivery, bulk: Bulk, rows: Sequence[OutRow], answer: Answer
) -> list[Verdict] | None:
    """The verdicts on rows that were sent together, one each; None when the answer holds no results."""
    root = answer.document.root if answer.document else _root(answer)
    results = query(bulk.results).records(root)
    if results is None or (not results and rows):
        return None
    if bulk.match_by == "id":
        matched = _by_id(bulk, rows, results)
    elif len(results) == len(rows):
        matched = list(results)
    else:
        matched = [MISSING] * len(rows)
    return [
        _of_result(delivery, bulk, row, result, answer.status)
        for row, result in zip(rows, matched, strict=True)
    ]


def _by_id(bulk: Bulk, rows: Sequence[OutRow], results: Sequence[Any]) -> list[Any]:
    assert bulk.id is not None and bulk.id_column is not None
    found: dict[str, Any] = {}
    for result in results:
        name = _text(query(bulk.id).first(result))
        if name is not None:
            # Two results for one row contradict each other, or might.
            found[name] = MISSING if name in found else result
    names = [_text(row.values.get(bulk.id_column)) for row in rows]
    return [MISSING if name is None else found.get(name, MISSING) for name in names]


def _of_result(
    delivery: Delivery, bulk: Bulk, row: OutRow, result: Any, http_status: int
) -> Verdict:
    if result is MISSING:
        return Verdict(
            "unknown", http_status, error="the answer has no result that is surely its own"
        )
    error = query(bulk.error).first(result) if bulk.error else MISSING
    code, sentence = _told(None if error is MISSING else error, row)
    accepted, status = _taken(bulk, result, error)
    if status is None:
        status = http_status
    if accepted:
        return Verdict("accepted", status, _remote_id(delivery, result))
    change = delivery.change(row.change)
    if change is not None and status in done_statuses(change, row.change):
        return Verdict("accepted", status, _remote_id(delivery, result))
    if status in REPEATED:
        return Verdict("unknown", status, None, code, sentence or f"status {status}", again=True)
    conflict = status == 409 and row.change == "create"
    if conflict and delivery.conflict == "accept":
        return Verdict("accepted", status, _remote_id(delivery, result))
    told = sentence or f"status {_status_text(bulk, result, status)}"
    return Verdict("refused", status, None, code, told, conflict=conflict)


def _taken(bulk: Bulk, result: Any, error: Any) -> tuple[bool, int | None]:
    """Whether a result says that the row was taken, and its status where that is a number."""
    if bulk.status is None:
        return error in (MISSING, None, "", False) or error == [] or error == {}, None
    said = query(bulk.status).first(result)
    if said in bulk.ok and said is not MISSING:
        return True, None
    if isinstance(said, bool):
        return said, None
    if isinstance(said, str) and said.isascii() and said.isdigit():
        said = int(said)
    if isinstance(said, int) and 100 <= said <= 599:
        return successful(said), said
    return False, None


def _status_text(bulk: Bulk, result: Any, status: int) -> str:
    said = query(bulk.status).first(result) if bulk.status else status
    return masked(_text(said) or "missing")[:60]


def _told(value: Any, row: OutRow) -> tuple[str | None, str | None]:
    """Code and sentence of an error, without the row's values."""
    hidden = row.hidden()
    code = None
    inner = value.get("error") if isinstance(value, Mapping) else None
    for place in (value, inner):
        if code is None and isinstance(place, Mapping):
            found = [_text(place.get(name)) for name in _CODES]
            code = next((masked(text, hidden)[:60] for text in found if text), None)
    return code, excerpt_of(value, hidden) or None


def _root(answer: Answer) -> Any:
    try:
        return read_document(answer.body).root
    except UnreadableError:
        return None


def _remote_id(delivery: Delivery, root: Any) -> str | None:
    return _text(query(delivery.remote_id).first(root)) if delivery.remote_id else None


def _text(value: Any) -> str | None:
    try:
        return as_text(value, "it")
    except UnfitError:
        return None
