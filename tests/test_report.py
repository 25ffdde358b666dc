"""The report of a phase: what it says, that it needs nothing but itself, and that nothing leaks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from sinew.engine.report import (
    ApprovalRow,
    BatchRow,
    BusinessRow,
    CheckRow,
    ComparisonRow,
    EntityRow,
    RejectRule,
    RejectSample,
    ReportData,
    build_report,
)
from sinew.engine.report_html import amount, duration, percent, size

START = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
MOVED = {
    "customers": ("CUST_MASTER", 2469, 31),
    "products": ("PROD_MSTR", 92331, 12),
    "orders": ("TXN_HDR", 155848, 48),
    "order_lines": ("TXN_LINE", 1469307, 214),
    "campaigns": ("CAMPGN", 30, 0),
    "coupon_redemptions": ("CPN_REDEEM", 2102, 7),
}
STEPS = {"extract": 2.1, "transform": 3.4, "check": 1.9, "load": 4.2, "validate": 0.8}


def comparison(entity: str, side: str, rows: int, **more) -> ComparisonRow:
    result = {
        "count_a": rows,
        "count_b": rows,
        "sum_a": -589184051983920598,
        "sum_b": -589184051983920598,
        "differences": [],
        "rows_transferred": 0,
        "queries": 2,
        "complete": True,
        "seconds": 0.8,
    }
    return ComparisonRow(entity, side, "differences" not in more, result | more)


def entities() -> tuple[EntityRow, ...]:
    return tuple(
        EntityRow(
            name,
            f"commerce.{name}",
            batches=1 + rows // 500_000,
            source_rows=rows,
            loaded=rows - bad,
            rejected=bad,
            bytes=rows * 140,
            gates_passed=1 + rows // 500_000,
            seconds=1.2 + rows / 52_000,
        )
        for name, (_, rows, bad) in MOVED.items()
    )


def batches() -> tuple[BatchRow, ...]:
    made = []
    at = START
    for row in entities():
        for _ in range(row.batches):
            part = row.source_rows / row.batches / 500_000 + 0.05
            timings = {step: seconds * part for step, seconds in STEPS.items()}
            took = timedelta(seconds=sum(timings.values()) * 1.1)
            made.append(
                BatchRow(
                    len(made) + 41,
                    row.entity,
                    "validated",
                    1,
                    row.source_rows // row.batches,
                    timings,
                    at + took,
                    source_snapshot="91734:91734:",
                )
            )
            at += took * 0.6
    return tuple(made)


def checks() -> tuple[CheckRow, ...]:
    found = []
    for batch in batches():
        found += [
            CheckRow(batch.entity, batch.id, "the key is not null", "PASSED", column="id", value=0),
            CheckRow(batch.entity, batch.id, "the key is unique", "PASSED", column="id", value=0),
            CheckRow(
                batch.entity,
                batch.id,
                "row count",
                "PASSED",
                value=batch.source_rows,
                threshold="at least 1",
            ),
        ]
    found.append(
        CheckRow("customers", 41, "e-mails look like e-mails", "WARN", "warn", "email", 3, "= 0", 3)
    )
    return tuple(found)


def business() -> BusinessRow:
    rejected = [
        {
            "source_key": [str(27_000_000_000 + i), str(800_000 + i * 37)],
            "key": [str(300 + i)],
            "amounts": {"lifetime_value": None if i == 3 else f"{i * 1.37 + 0.99:.2f}"},
            "column": "quantity",
            "rule": "check",
            "reason": "the quantity is not between 0 and 1000",
            "taken": i < 7,
        }
        for i in range(9)
    ]
    result = {
        "difference_count": 0,
        "differences": [],
        "asked": 2438,
        "answered": 2438,
        "source_rows": 2469,
        "target_rows": 2438,
        "columns": ["lifetime_value"],
        "totals": [
            {
                "column": "lifetime_value",
                "source": "4609812.53",
                "rejected": "31.40",
                "target": "4609781.13",
            }
        ],
        "rejected_count": 9,
        "rejected": rejected,
        "seconds": 1.7,
    }
    return BusinessRow("lifetime value of every customer", True, result)


REJECTS = (
    RejectRule(
        "order_lines",
        "quantity",
        "check",
        "the quantity is not between 0 and 1000",
        "row",
        160,
        (RejectSample("27021090214, 885857", "-3"), RejectSample("27021090301, 9526163", "70000")),
    ),
    RejectRule("order_lines", "order_id", "parent_rejected", "its order was rejected", "row", 54),
    RejectRule(
        "orders",
        "placed_at",
        "parse_date",
        "not a date of the form YYYYMMDD",
        "row",
        48,
        (RejectSample("27008817920", "20170231"),),
    ),
    RejectRule(
        "customers",
        "email",
        "check",
        "does not look like an e-mail",
        "row",
        31,
        (RejectSample("1204", "a***********m"), RejectSample("77", "<b>***")),
    ),
    RejectRule("customers", "referrer_id", "unknown_ref", "no such customer", "value", 12),
)


def complete() -> ReportData:
    return ReportData(
        mapping="retail",
        description="The shop's customers, orders and products, out of the old system.",
        strategy="trickle",
        phase="rest",
        phase_position=2,
        phase_count=2,
        phase_state="complete",
        run_id="manual__2026-03-14T09:26:53+00:00",
        fingerprint="9f2b7c0d5e1a4433a0c5d2f7b8e6194c0aa1be57c3d94f20816e7ab35cd0f912",
        source="legacy_retail",
        target="commerce",
        made_at=START + timedelta(seconds=95),
        started_at=START,
        completed_at=START + timedelta(seconds=93),
        snapshot="91760:91760:",
        entities=entities(),
        batches=batches(),
        checks=checks(),
        rejects=REJECTS,
        comparisons=tuple(
            comparison(row.entity, side, row.source_rows if side == "source" else row.loaded)
            for row in entities()
            for side in ("source", "target")
        ),
        business=(business(),),
        approvals=(ApprovalRow("ada", "approved", START - timedelta(minutes=3)),),
        hash_modes={name: "fast" for name in MOVED},
    )


def incomplete() -> ReportData:
    """The same phase with one batch stopped at its gate and one row changed in the target."""
    data = complete()
    failing = CheckRow(
        "order_lines", 47, "no negative prices", "FAILED", "fail", "price", 17, "= 0", 17
    )
    stopped = replace(
        data.batches[-3],
        state="gate_failed",
        error="gate failed: 3 of 4 checks hold; FAILED no negative prices: 17, must be = 0",
    )
    differs = comparison(
        "customers",
        "target",
        2438,
        sum_b=-589184051983920000,
        differences=[
            {"kind": "changed", "key": ["9dd4e461-268c-8034-f5c8-564e155c67a6"], "times": 1}
        ],
    )
    wrong = business()
    difference = {
        "kind": "changed",
        "key": ["9dd4e461-268c-8034-f5c8-564e155c67a6"],
        "column": "lifetime_value",
        "source": "812.10",
        "target": "812.11",
    }
    result = {**wrong.result, "difference_count": 1, "differences": [difference]}
    rows = [
        replace(row, gates_failed=1) if row.entity == "order_lines" else row
        for row in data.entities
    ]
    return replace(
        data,
        phase_state="failed",
        completed_at=None,
        entities=tuple(rows),
        checks=(*data.checks, failing),
        batches=tuple(stopped if row.id == stopped.id else row for row in data.batches),
        comparisons=(
            differs,
            *(c for c in data.comparisons if (c.entity, c.side) != ("customers", "target")),
        ),
        business=(replace(wrong, equal=False, result=result),),
    )


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    VOID = ("meta", "path", "circle", "rect", "br", "link", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if "style" not in self.open:
            self.text += f" {' '.join(data.split())}"


@pytest.mark.parametrize("data", [complete(), incomplete()], ids=["complete", "incomplete"])
def test_the_page_needs_nothing_but_itself(data: ReportData) -> None:
    html, _ = build_report(data)
    page = Page(html)
    assert not page.open
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    loading = {"src", "href", "srcset", "data", "action"}
    assert not [tag for tag, attributes in page.tags if loading & attributes.keys()]
    assert "url(" not in html and "@import" not in html


def test_a_complete_phase_says_so_with_its_figures() -> None:
    html, body = build_report(complete())
    text = Page(html).text
    for words in ("Complete", "1,722,087", "1,721,775", "order_lines", "8 of 8", "ada", "approved"):
        assert words in text
    assert "Not complete" not in text
    assert complete().fingerprint in text and "91760:91760:" in text
    assert body["verdict"] == {"complete": True, "missing": []}
    assert body["totals"]["source_rows"] == body["totals"]["loaded"] + body["totals"]["rejected"]


def test_an_incomplete_phase_says_what_is_missing() -> None:
    html, body = build_report(incomplete())
    text = Page(html).text
    assert body["verdict"]["missing"] == [
        "order_lines: batch 46 is not validated, its gate failed",
        "customers: row ledger and target differ in 1 row",
        "lifetime value of every customer: 1 difference between source and target",
    ]
    for sentence in body["verdict"]["missing"]:
        assert sentence in text
    assert "no negative prices" in text and "9dd4e461-268c-8034-f5c8-564e155c67a6" in text


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"phase_state": "running"}, "the phase is running: it was not closed yet"),
        ({"comparisons": ()}, "customers: it was not compared with source and target yet"),
    ],
)
def test_a_phase_that_is_not_closed_or_not_proved_is_not_complete(change, wanted: str) -> None:
    data = replace(complete(), **change)
    assert not data.complete and wanted in data.missing


def test_rows_that_nobody_accounts_for_are_missing() -> None:
    data = complete()
    rows = (replace(data.entities[0], loaded=2437), *data.entities[1:])
    assert replace(data, entities=rows).missing == ("customers: not accounted for: 1 source row",)


def test_every_rejected_amount_is_listed_with_its_reason() -> None:
    text = Page(build_report(complete())[0]).text
    for value in ("0.99", "2.36", "not a number", "9.21"):
        assert value in text
    assert "quantity: the quantity is not between 0 and 1000" in text
    assert "Not taken off: 2 rejected rows" in text


def test_whatever_a_value_holds_stays_text() -> None:
    hostile = "<script>alert(1)</script>\"'&"
    rule = RejectRule(
        hostile, hostile, hostile, hostile, "row", 1, (RejectSample(hostile, hostile),)
    )
    data = replace(
        complete(),
        mapping=hostile,
        description=hostile,
        rejects=(rule,),
        checks=(CheckRow(hostile, 1, hostile, "FAILED", column=hostile, detail=hostile),),
        batches=(replace(complete().batches[0], entity=hostile, error=hostile),),
        approvals=(ApprovalRow(hostile, hostile, START),),
        business=(BusinessRow(hostile, True, business().result),),
    )
    html, _ = build_report(data)
    assert "<script" not in html
    assert Page(html).text.count("<script>alert(1)</script>") >= 10


def test_the_same_values_are_in_the_json() -> None:
    _, body = build_report(complete())
    again = json.loads(json.dumps(body))
    assert again["made_at"] == "2026-03-14T09:28:28+00:00"
    assert again["rejects"][0]["samples"][0]["value"] == "-3"
    assert again["comparisons"][0]["result"]["sum_a"] == -589184051983920598


def test_a_phase_that_has_not_begun_has_a_report() -> None:
    data = replace(
        complete(),
        phase_state="planned",
        started_at=None,
        completed_at=None,
        snapshot=None,
        entities=(),
        batches=(),
        checks=(),
        rejects=(),
        comparisons=(),
        business=(),
        approvals=(),
    )
    html, body = build_report(data)
    assert "Not complete" in Page(html).text and not body["verdict"]["complete"]


def test_many_batches_are_drawn_as_the_longest_of_them() -> None:
    one = complete().batches[0]
    many = tuple(replace(one, id=number) for number in range(500))
    html, _ = build_report(replace(complete(), batches=many))
    lanes = [tag for tag, attributes in Page(html).tags if attributes.get("role") == "img"]
    assert len(lanes) == 60
    assert "440 shorter batches are not drawn" in Page(html).text


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (duration(0.04), "0.0 s"),
        (duration(59.7), "1 min 00 s"),
        (duration(7384), "2 h 03 min"),
        (size(999), "999 bytes"),
        (size(1_469_307 * 140), "206 MB"),
        (percent(1, 1_000_000), "< 0.01 %"),
        (percent(999_999, 1_000_000), "> 99.99 %"),
        (percent(0, 0), "0 %"),
        (amount("4609812.530"), "4,609,812.53"),
        (amount("not a number"), "not a number"),
        (amount(None), "NULL"),
    ],
)
def test_figures_are_said_as_people_say_them(said: str, wanted: str) -> None:
    assert said == wanted
