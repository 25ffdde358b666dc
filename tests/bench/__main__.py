"""Measure, print, and keep the figures as flat JSON in ``.sinew/bench.json``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from demo.stack import Stack
from tests.bench import airflow_share, api, history
from tests.bench.table import make_source

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the benchmarks asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows of the history benchmark")
    parser.add_argument("--no-airflow", action="store_true", help="leave out Airflow's share")
    parser.add_argument(
        "--only", choices=["history", "api"], help="measure just this; the rest stays"
    )
    asked = parser.parse_args()
    home = ROOT / ".sinew" / "bench"
    os.environ["SINEW_HOME"] = str(home)
    airflow_share.prepare_include(home / "include", 2_000_000)
    stack = Stack()
    figures: dict[str, float] = {}
    try:
        stack.postgres.start()
        stack.ensure_databases()
        with stack.postgres.connect() as conn:
            conn.execute("GRANT pg_checkpoint TO sinew")
        if asked.only != "api":
            _measure_history(stack, asked.rows, figures)
        if asked.only != "history":
            figures |= api.measure(stack.dsn("commerce"))
        if not (asked.no_airflow or asked.only):
            _measure_airflow(stack, figures)
    finally:
        stack.down()
        stack.postgres.stop()
    path = ROOT / ".sinew" / "bench.json"
    kept = json.loads(path.read_text()) if asked.only and path.exists() else {}
    kept |= {k: round(v, 4) for k, v in figures.items()}
    path.write_text(json.dumps(kept, indent=2) + "\n")
    print(f"figures are in {path.relative_to(ROOT)}")


def _measure_history(stack: Stack, rows: int, figures: dict[str, float]) -> None:
    source, target = stack.dsn("legacy_retail"), stack.dsn("commerce")
    print(f"making a table of {rows:,} rows", flush=True)
    with stack.postgres.connect("legacy_retail") as conn:
        make_source(conn, "big", rows)
        size = conn.execute("SELECT pg_total_relation_size('bench.big')").fetchone()
    print(f"  {int(size[0]) / 1e6:,.0f} MB with its key" if size else "", flush=True)
    # The limit is measured before and after, because a busy machine does not stay equally busy.
    before = history.raw_copy(source, target, "big")
    buffered = history.raw_copy(source, target, "big", buffered=True)
    # Small enough that landing and staging of a batch are dropped before they are written to disk.
    context = history.context(source, target, "big", rows // 6)
    moved, steps, compared, peak = history.whole(context)
    after = history.raw_copy(source, target, "big")
    raw = (before + after) / 2
    figures |= {
        "raw_copy_rows_per_s": rows / raw,
        "history_rows_per_s": rows / moved,
        "history_ratio_to_raw_copy": raw / moved,
        "history_ratio_to_buffered_copy": buffered / moved,
        "compare_s": compared,
        "worker_peak_mb": peak,
    }
    figures |= {f"{step}_s": seconds for step, seconds in steps.items()}
    print(
        f"raw binary COPY pipe  {rows / raw:>12,.0f} rows/s  ({before:.1f} s before, {after:.1f} s after)"
    )
    print(f"the same, buffered    {rows / buffered:>12,.0f} rows/s  ({buffered:.1f} s)")
    for step, seconds in steps.items():
        print(f"{step:<21} {rows / seconds:>12,.0f} rows/s  ({seconds:.1f} s of work)")
    print(
        f"whole, two lanes      {rows / moved:>12,.0f} rows/s  ({moved:.1f} s), {raw / moved:.2f} of the raw pipe"
    )
    print(f"final comparison      {rows / compared:>12,.0f} rows/s  ({compared:.1f} s)")
    print(f"worker's peak memory  {peak:>12,.0f} MB", flush=True)


def _measure_airflow(stack: Stack, figures: dict[str, float]) -> None:
    rows = 6_000_000
    source, target = stack.dsn("legacy_retail"), stack.dsn("commerce")
    with stack.postgres.connect("legacy_retail") as conn:
        make_source(conn, airflow_share.TABLE, rows)
    moved, _steps, compared, _peak = history.whole(
        history.context(source, target, airflow_share.TABLE, 2_000_000)
    )
    stack.up()
    under = airflow_share.run_under_airflow(stack)
    share = (under - moved - compared) / under
    figures |= {"airflow_run_s": under, "engine_run_s": moved + compared, "airflow_share": share}
    print(
        f"6 M rows under Airflow {under:.1f} s, without {moved + compared:.1f} s: Airflow's share {share:.0%}"
    )


if __name__ == "__main__":
    main()
