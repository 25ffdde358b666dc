"""Rows into a table by COPY."""

from __future__ import annotations

import io

import psycopg
import pyarrow as arrow
from psycopg import sql
from pyarrow import csv

from demo.legacy.wheel import promotion_batches

# Rows turned into text at a time: about 20 MB, so that memory stays small.
SLICE = 200_000


def copy_table(conn: psycopg.Connection, table: str, rows: arrow.Table) -> int:
    """Write an Arrow table into the table of that name, columns by name; returns the rows."""
    names = sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(table), names)
    # A NULL is an empty field without quotes, an empty string has them: writer and COPY agree.
    options = csv.WriteOptions(include_header=False, quoting_style="needed")
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, len(rows), SLICE):
            text = io.BytesIO()
            csv.write_csv(rows.slice(start, SLICE), text, options)
            copy.write(text.getbuffer())
    return len(rows)


def copy_promotions(conn: psycopg.Connection) -> int:
    """Write the 20.9 M promotions into PROMO; they name goods and stores that nothing else does."""
    names = ["PROD_ID", "STORE_NO", "DISP_CD", "MAIL_CD", "WK_NO"]
    batches = promotion_batches().iter_batches(batch_size=SLICE)
    return sum(
        copy_table(conn, "PROMO", arrow.Table.from_batches([b]).rename_columns(names))
        for b in batches
    )
