"""Statements around one receipt: the mark before a row is sent, what came back, and the proof in the end."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from sinew.compile.bounds import ALWAYS, Range
from sinew.compile.deliver_sql import REFUSED, UNDELIVERABLE, fate, staged_entries
from sinew.compile.entity_plan import EntityPlan
from sinew.compile.load_sql import AND, COMMA, equal
from sinew.compile.table_sql import staging_table
from sinew.spec.sync import SyncEntity

# Only while the attempt holds the batch; another that wants to take over waits until this has committed.
_HELD = "held AS MATERIALIZED (SELECT FROM sinew.batch WHERE id = {batch} AND attempt = {attempt} FOR NO KEY UPDATE)"


def mark_sending(plan: EntityPlan, batch_id: int, attempt: int) -> sql.Composed:
    """Note in the row ledger what is about to be sent; no row is noted when another attempt has taken over.

    Parameter: changes, a JSON array of objects with entry, change and version.
    """
    keys = [f"k{i}" for i in range(1, len(plan.key_types) + 1)]
    targets = [f"t{i}" for i in range(1, len(plan.target_key) + 1)]
    updates = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in targets]
    return sql.SQL(
        "WITH "
        + _HELD
        + " INSERT INTO {ledger} AS w ({names}, state, source_hash, batch_id, moment, sending, sending_hash) "
        "SELECT {values}, 'waiting', e.source_hash, {batch}, e.moment, g.change, g.version FROM held "
        "CROSS JOIN jsonb_to_recordset(%(changes)s::jsonb) AS g (entry jsonb, change text, version bigint) "
        "CROSS JOIN LATERAL jsonb_populate_record(NULL::{ledger}, g.entry) AS e "
        "ON CONFLICT ({key}) DO UPDATE SET {updates}, "
        "source_hash = coalesce(excluded.source_hash, w.source_hash), moment = coalesce(excluded.moment, w.moment), "
        "sending = excluded.sending, sending_hash = excluded.sending_hash"
    ).format(
        ledger=plan.ledger,
        names=COMMA.join(map(sql.Identifier, [*keys, *targets])),
        values=COMMA.join(sql.Identifier("e", name) for name in [*keys, *targets]),
        batch=sql.Literal(batch_id),
        attempt=sql.Literal(attempt),
        key=COMMA.join(map(sql.Identifier, keys)),
        updates=COMMA.join(updates),
    )


def keep_receipts(plan: EntityPlan, batch_id: int, attempt: int) -> sql.Composed:
    """Keep receipts, and follow with the row ledger and the rejects; none when another attempt has taken over.

    Parameter: receipts, a JSON array of objects with the members of ``given``; doubt and doubt_version are what
    was on its way before, which a refusal does not settle.

    An unknown outcome leaves the mark and the number of the last receipt, so that the row is sent with the
    idempotency key that it had.
    """
    mine = AND.join(equal("w", f"k{i}", "e", f"k{i}") for i in range(1, len(plan.key_types) + 1))
    return sql.SQL(
        "WITH "
        + _HELD
        + ", given AS MATERIALIZED (SELECT g.* FROM held CROSS JOIN jsonb_to_recordset(%(receipts)s::jsonb) AS g "
        "(key jsonb, entry jsonb, version bigint, change text, idempotency_key text, status text, http_status integer, "
        "remote_id text, code text, error text, attempts integer, sent_at timestamptz, doubt text, "
        "doubt_version bigint)), "
        "kept AS (INSERT INTO sinew.receipt (mapping, entity, batch_id, source_key, version, change, idempotency_key, "
        "status, http_status, remote_id, code, error, attempts, sent_at) "
        "SELECT {mapping}, {entity}, {batch}, key, version, change, idempotency_key, status, http_status, remote_id, "
        "code, error, attempts, sent_at FROM given RETURNING id, source_key), "
        "told AS (INSERT INTO sinew.reject (batch_id, mapping, entity, source_key, source_hash, scope, column_name, "
        "rule, reason) SELECT {batch}, {mapping}, {entity}, key, (entry ->> 'source_hash')::bigint, 'row', '*', "
        "{refused}, coalesce(code || ': ', '') || coalesce(error, 'the API refused it') "
        "FROM given WHERE status = 'refused') "
        "UPDATE {ledger} AS w SET {updates}, "
        "batch_id = CASE WHEN g.status = 'unknown' THEN w.batch_id ELSE {batch} END "
        "FROM given AS g JOIN kept ON kept.source_key = g.key "
        "CROSS JOIN LATERAL jsonb_populate_record(NULL::{ledger}, g.entry) AS e WHERE {mine}"
    ).format(
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        batch=sql.Literal(batch_id),
        attempt=sql.Literal(attempt),
        refused=sql.Literal(REFUSED),
        ledger=plan.ledger,
        updates=_follows(plan),
        mine=mine,
    )


_FOLLOWS = """
state = CASE g.status WHEN 'refused' THEN 'rejected' WHEN 'unknown' THEN w.state
    ELSE CASE g.change WHEN 'delete' THEN 'deleted' ELSE 'live' END END,
target_hash = CASE WHEN g.status = 'accepted' THEN CASE WHEN g.change <> 'delete' THEN g.version END
    ELSE w.target_hash END,
refused_hash = CASE g.status WHEN 'refused' THEN g.version WHEN 'unknown' THEN w.refused_hash END,
sending = CASE g.status WHEN 'unknown' THEN w.sending WHEN 'refused' THEN
    CASE WHEN {no_record} THEN 'delete' ELSE g.doubt END END,
sending_hash = CASE g.status WHEN 'unknown' THEN w.sending_hash WHEN 'refused' THEN
    CASE WHEN {no_record} THEN w.target_hash ELSE g.doubt_version END END,
receipt = CASE WHEN g.status = 'unknown' THEN w.receipt ELSE kept.id END"""


def _follows(plan: EntityPlan) -> sql.Composed:
    delivery = plan.entity.deliver if isinstance(plan.entity, SyncEntity) else None
    no_record = "false"
    if delivery is not None and delivery.read_back is not None:
        # As if the record had been deleted by somebody: it is looked for before anything is sent again.
        no_record = "g.change = 'update' AND g.http_status IN (404, 410)"
    return sql.SQL(_FOLLOWS).format(no_record=sql.SQL(no_record))


# --- what it came to


def count_fates(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Staged rows by fate, and how many of each this batch has brought itself."""
    return sql.SQL(
        "SELECT {fate}, count(*), count(*) FILTER (WHERE w.batch_id = {batch}) FROM {rows} GROUP BY 1"
    ).format(
        fate=fate(plan, range_), batch=sql.Literal(batch_id), rows=staged_entries(plan, batch_id)
    )


def acknowledged(plan: EntityPlan, batch_id: int, range_: Range) -> sql.Composed:
    """Sum of the hashes of the staged rows that the API has as they are."""
    return sql.SQL(
        "SELECT coalesce(sum(s.sinew_target_hash), 0) FROM {} WHERE {} = 'unchanged'"
    ).format(staged_entries(plan, batch_id), fate(plan, range_))


def receipt_evidence(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Entries of this batch against their receipts.

    Result: entries that are live, entries that were deleted at the API, and entries whose receipt does not bear
    them out.
    """
    return sql.SQL(
        "SELECT count(*) FILTER (WHERE w.state = 'live'), "
        "count(*) FILTER (WHERE w.state = 'deleted'), "
        "count(*) FILTER (WHERE (r.status = 'accepted' AND r.batch_id = w.batch_id AND r.mapping = {mapping} "
        "AND r.entity = {entity} AND r.source_key = {key} AND (w.state = 'deleted') = (r.change = 'delete') "
        "AND (w.state = 'deleted' OR r.version = w.target_hash)) IS NOT TRUE) "
        "FROM {ledger} AS w LEFT JOIN sinew.receipt AS r ON r.id = w.receipt AND r.batch_id = {batch} "
        "WHERE w.batch_id = {batch} AND w.state IN ('live', 'deleted')"
    ).format(
        mapping=sql.Literal(plan.migration.name),
        entity=sql.Literal(plan.entity.name),
        key=_entry_key(plan),
        ledger=plan.ledger,
        batch=sql.Literal(batch_id),
    )


def count_kept_out(plan: EntityPlan, batch_id: int) -> sql.Composed:
    """Staged rows that the delivery itself tells of as rejects, each once."""
    same = AND.join(
        sql.SQL("j.source_key ->> {} = s.{}::text").format(
            sql.Literal(name), sql.Identifier(f"sinew_k{i}")
        )
        for i, name in enumerate(plan.entity.source_key, start=1)
    )
    return sql.SQL(
        "SELECT count(*) FROM {} AS s WHERE EXISTS (SELECT FROM sinew.reject AS j WHERE j.batch_id = {} "
        "AND j.rule IN ({}, {}) AND {})"
    ).format(
        staging_table(batch_id),
        *map(sql.Literal, (batch_id, REFUSED, UNDELIVERABLE)),
        same,
    )


def _entry_key(plan: EntityPlan) -> sql.Composed:
    pairs = COMMA.join(
        sql.SQL("{}::text, w.{}::text").format(sql.Literal(name), sql.Identifier(f"k{i}"))
        for i, name in enumerate(plan.entity.source_key, start=1)
    )
    return sql.SQL("jsonb_build_object({})").format(pairs)


def forget_delivered(plan: EntityPlan) -> sql.Composed:
    """The API does not have what it acknowledged: such rows are sent again when they are read next.

    Parameter: changes, a JSON array of objects with entry, version, found (it has another version, or what should
    be gone) and deletion.
    """
    mine = AND.join(equal("w", f"k{i}", "e", f"k{i}") for i in range(1, len(plan.key_types) + 1))
    return sql.SQL(
        "UPDATE {ledger} AS w SET state = CASE WHEN g.found THEN 'live' ELSE 'waiting' END, "
        "target_hash = CASE WHEN g.found THEN g.version END, "
        "sending = CASE WHEN g.found AND NOT g.deletion THEN 'update' END, "
        "sending_hash = CASE WHEN g.found AND NOT g.deletion THEN g.version END "
        "FROM jsonb_to_recordset(%(changes)s::jsonb) "
        "AS g (entry jsonb, version bigint, found boolean, deletion boolean) "
        "CROSS JOIN LATERAL jsonb_populate_record(NULL::{ledger}, g.entry) AS e WHERE {mine}"
    ).format(ledger=plan.ledger, mine=mine)


# --- again


def send_again(plan: EntityPlan, keys: Sequence[str] | None) -> sql.Composed:
    """Forget that rows were refused; all of them, or those of the keys (JSON objects of texts).

    Result: the number of rows, and the moment of the oldest.
    """
    which: sql.Composable = ALWAYS
    if keys is not None:
        which = sql.SQL("{} = ANY({}::text[]::jsonb[])").format(
            _entry_key(plan), sql.Literal(list(keys))
        )
    return sql.SQL(
        "WITH again AS (UPDATE {} AS w SET refused_hash = NULL, state = 'waiting' "
        "WHERE w.refused_hash IS NOT NULL AND {} RETURNING w.moment) SELECT count(*), min(moment) FROM again"
    ).format(plan.ledger, which)


def waiting_windows(plan: EntityPlan) -> sql.Composed:
    """Bounds of the runs that read the rows which wait to be sent again."""
    return sql.SQL(
        "SELECT DISTINCT n.lower, n.upper FROM {} AS w JOIN sinew.batch AS b ON b.id = w.batch_id "
        "JOIN sinew.\"window\" AS n ON n.id = b.window_id WHERE w.state = 'waiting' ORDER BY 2, 1"
    ).format(plan.ledger)
