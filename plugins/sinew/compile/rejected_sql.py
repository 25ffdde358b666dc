"""What rejected rows were worth, asked of the source by their keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import sql

from sinew.compile.facts import PgType

_COMMA = sql.SQL(", ")
_AND = sql.SQL(" AND ")
REJECTED = sql.Identifier("pg_temp", "sinew_rejected")
AMOUNTS = sql.Identifier("pg_temp", "sinew_amounts")
LISTED = sql.Identifier("pg_temp", "sinew_listed")


@dataclass(frozen=True)
class RejectedRows:
    """What rejected rows of an entity were worth, asked of the source.

    ``relation`` is the entity's source under the alias ``r``; ``key`` are the entity's key
    columns by name, with their SQL over it and their types (for a keyless entity ``sinew_hash``
    with the row's hash); ``check_key`` and ``amounts`` map columns of the check to SQL over the
    same row. ``where`` limits what is read for rows that have a NULL in their key.
    """

    mapping: str
    entity: str
    relation: sql.Composable
    key: tuple[tuple[str, sql.Composable, PgType], ...]
    check_key: dict[str, sql.Composable]
    amounts: dict[str, sql.Composable]
    where: sql.Composable | None = None

    @property
    def ledger(self) -> sql.Identifier:
        """The entity's row ledger."""
        return sql.Identifier("sinew_rows", f"{self.mapping}__{self.entity}")


def create_rejected(rejected: RejectedRows) -> sql.Composed:
    """The rows that are rejected now, as a temporary table: key as text, column, rule, reason."""
    names = [name for name, _, _ in rejected.key]
    keys = [sql.SQL("j.source_key ->> {}").format(sql.Literal(name)) for name in names]
    return sql.SQL(
        "CREATE TEMP TABLE {table} AS SELECT {keys}, j.column_name, j.rule, j.reason "
        "FROM (SELECT DISTINCT ON (source_key) * FROM sinew.reject WHERE mapping = {mapping} "
        "AND entity = {entity} AND scope = 'row' AND rule <> 'null_key' "
        "ORDER BY source_key, batch_id DESC) AS j "
        "WHERE EXISTS (SELECT FROM {ledger} AS w WHERE w.state = 'rejected' AND {same})"
    ).format(
        table=REJECTED,
        keys=_COMMA.join(
            sql.SQL("{} AS {}").format(key, name)
            for key, name in zip(keys, _numbered("k", names), strict=True)
        ),
        mapping=sql.Literal(rejected.mapping),
        entity=sql.Literal(rejected.entity),
        # A row that was mended and loaded since is live in the ledger.
        ledger=rejected.ledger,
        same=_AND.join(
            sql.SQL("w.{} = ({})::{}").format(sql.Identifier(f"k{i}"), key, sql.SQL(type_.sql))
            for i, (key, (_, _, type_)) in enumerate(zip(keys, rejected.key, strict=True), start=1)
        ),
    )


def rejected_keys(rejected: RejectedRows) -> sql.Composed:
    """Their keys, as texts."""
    keys = _COMMA.join(_numbered("k", rejected.key))
    return sql.SQL("SELECT DISTINCT {0} FROM {1} ORDER BY {0}").format(keys, REJECTED)


def create_amounts(rejected: RejectedRows) -> sql.Composed:
    """A temporary table for what the source says of them, all as text."""
    names = [*_numbered("k", rejected.key), *_numbered("c", rejected.check_key)]
    names += _numbered("a", rejected.amounts)
    return sql.SQL("CREATE TEMP TABLE {} ({})").format(
        AMOUNTS, _COMMA.join(sql.SQL("{} text").format(name) for name in names)
    )


def _numbered(prefix: str, values: Collection[object]) -> list[sql.Identifier]:
    return [sql.Identifier(f"{prefix}{i}") for i in range(len(values))]


def amounts_of(
    rejected: RejectedRows, check_key: Sequence[str], keys: Sequence[Sequence[str]]
) -> sql.Composed:
    """COPY, as text, of the rows with these keys: the key, the check's key, the amounts."""
    columns = list(zip(*keys, strict=True))
    arrays = [
        sql.SQL("{}::{}[]").format(sql.Literal(list(values)), sql.SQL(type_.sql))
        for values, (_, _, type_) in zip(columns, rejected.key, strict=True)
    ]
    wanted = sql.SQL("({}) IN (SELECT * FROM unnest({}))").format(
        _COMMA.join(value for _, value, _ in rejected.key), _COMMA.join(arrays)
    )
    return _amounts(rejected, check_key, wanted)


def amounts_without_key(rejected: RejectedRows, check_key: Sequence[str]) -> sql.Composed:
    """The same for the rows that have no key: a part of it is NULL."""
    given = _AND.join(sql.SQL("{} IS NOT NULL").format(value) for _, value, _ in rejected.key)
    wanted = sql.SQL("NOT ({})").format(given)
    if rejected.where is not None:
        wanted = sql.SQL("{} AND ({})").format(wanted, rejected.where)
    return _amounts(rejected, check_key, wanted)


def _amounts(
    rejected: RejectedRows, check_key: Sequence[str], wanted: sql.Composable
) -> sql.Composed:
    texts = [value for _, value, _ in rejected.key]
    texts += [rejected.check_key[name] for name in check_key]
    texts += list(rejected.amounts.values())
    return sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT").format(
        _COMMA.join(sql.SQL("({})::text").format(text) for text in texts),
        rejected.relation,
        wanted,
    )


def create_listed(rejected: RejectedRows) -> sql.Composed:
    """One row a rejected row: its key, the check's key, its amounts as numbers, and why.

    An amount that is no number, such as the text for which the row was rejected, is NULL.
    """
    keys, check_keys = _numbered("k", rejected.key), _numbered("c", rejected.check_key)
    amounts = [
        sql.SQL(
            "CASE WHEN pg_input_is_valid(m.{0}, 'numeric') THEN m.{0}::numeric END AS {0}"
        ).format(name)
        for name in _numbered("a", rejected.amounts)
    ]
    # Copies of a row without a key are all rejected, and all found by each copy's hash.
    return sql.SQL(
        "CREATE TEMP TABLE {listed} AS SELECT {own}, {values}, r.column_name, r.rule, r.reason "
        "FROM {rejected} AS r LEFT JOIN "
        "(SELECT DISTINCT ON ({keys}) * FROM {amounts} ORDER BY {keys}) AS m ON {same} "
        "UNION ALL SELECT {found}, {values}, 'the key', 'null_key', "
        "'a part of the key is NULL' FROM {amounts} AS m WHERE NOT ({given})"
    ).format(
        listed=LISTED,
        rejected=REJECTED,
        amounts=AMOUNTS,
        own=_COMMA.join(sql.SQL("r.{}").format(key) for key in keys),
        found=_COMMA.join(sql.SQL("m.{}").format(key) for key in keys),
        values=_COMMA.join([*(sql.SQL("m.{}").format(key) for key in check_keys), *amounts]),
        keys=_COMMA.join(keys),
        same=_AND.join(sql.SQL("r.{0} = m.{0}").format(key) for key in keys),
        given=_AND.join(sql.SQL("m.{} IS NOT NULL").format(key) for key in keys),
    )
