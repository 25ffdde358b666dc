"""Windows: moments are written as the API wants them, without a gap or an overlap, or not at all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from demo.shop.api.server import ShopServer
from sinew.api.pages import read_pages
from sinew.api.windows import incremental_params, written
from sinew.errors import ConfigurationError
from sinew.spec.resources import Moments, Resource, Window
from tests.kit_api import QUICK, ApiSession

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 29, 12, 30, 15, 250_000, tzinfo=UTC)


def window(**more: Any) -> Window:
    return Window.model_validate(
        {"by": "window", "from_parameter": "from", "to_parameter": "to", **more}
    )


class TestFormats:
    @pytest.mark.parametrize(
        ("declared", "text"),
        [
            ({}, "2026-03-29T12:30:15.250000Z"),
            ({"precision": "milliseconds"}, "2026-03-29T12:30:15.250Z"),
            (
                {"precision": "milliseconds", "zone": "Europe/Berlin"},
                "2026-03-29T14:30:15.250+02:00",
            ),
            ({"format": "epoch_milliseconds"}, "1774787415250"),
            (
                {"format": "%d.%m.%Y %H:%M:%S.%f", "zone": "Asia/Tokyo"},
                "29.03.2026 21:30:15.250000",
            ),
        ],
    )
    def test_a_moment_is_written_as_declared(self, declared: dict[str, Any], text: str) -> None:
        assert written(NOON, Moments.model_validate(declared)) == text

    @pytest.mark.parametrize(
        "declared",
        [
            {"precision": "seconds"},
            {"format": "epoch_seconds"},
            {"format": "date"},
            {"format": "%Y-%m-%dT%H:%M:%S"},
            {"format": "%Y-%m-%dT%H:%M:%S%z", "zone": "Europe/Berlin"},
        ],
    )
    def test_one_that_is_finer_than_the_format_is_refused_and_not_rounded(
        self, declared: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigurationError, match="cannot be written .* without a loss"):
            written(NOON, Moments.model_validate(declared))

    def test_a_date_is_the_midnight_of_its_zone(self) -> None:
        moments = Moments.model_validate({"format": "date", "zone": "Europe/Berlin"})
        assert written(datetime(2026, 3, 30, tzinfo=BERLIN), moments) == "2026-03-30"
        with pytest.raises(ConfigurationError):
            written(datetime(2026, 3, 30, tzinfo=UTC), moments)

    def test_an_hour_that_a_clock_shows_twice_is_written_only_where_the_text_can_tell(self) -> None:
        first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
        naive = Moments.model_validate({"format": "%Y-%m-%dT%H:%M:%S", "zone": "Europe/Berlin"})
        offset = Moments.model_validate({"format": "%Y-%m-%dT%H:%M:%S%z", "zone": "Europe/Berlin"})
        for moment in (first, second):
            with pytest.raises(ConfigurationError):
                written(moment, naive)
        assert written(first, offset) == "2026-10-25T02:30:00+0200"
        assert written(second, offset) == "2026-10-25T02:30:00+0100"

    def test_a_moment_without_a_zone_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="needed here: a moment with a time zone"):
            incremental_params(window(), {"window_from": datetime(2026, 1, 1), "window_to": NOON})

    @pytest.mark.parametrize("declared", [{"format": "rfc822"}, {"zone": "Europe/Berlinn"}])
    def test_an_unknown_format_or_zone_is_told(self, declared: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match="allowed: "):
            Moments.model_validate(declared)


class TestBounds:
    @pytest.mark.parametrize(
        ("declared", "bounds"),
        [
            ({}, ("2026-03-29T00:00:00.000000Z", "2026-03-30T00:00:00.000000Z")),
            (
                {"upper": "inclusive"},
                ("2026-03-29T00:00:00.000000Z", "2026-03-29T23:59:59.999999Z"),
            ),
            (
                {"lower": "exclusive", "precision": "seconds"},
                ("2026-03-28T23:59:59Z", "2026-03-30T00:00:00Z"),
            ),
            ({"format": "date", "upper": "inclusive"}, ("2026-03-29", "2026-03-29")),
            # To 1774828799 the API would hand out nothing of that second but its beginning.
            ({"format": "epoch_seconds", "upper": "inclusive"}, ("1774742400", "1774828800")),
        ],
    )
    def test_a_half_open_window_is_said_in_the_apis_terms(
        self, declared: dict[str, Any], bounds: tuple[str, str]
    ) -> None:
        day = datetime(2026, 3, 29, tzinfo=UTC)
        given_ = {"window_from": day, "window_to": day + timedelta(days=1)}
        assert incremental_params(window(**declared), given_) == [
            ("from", bounds[0]),
            ("to", bounds[1]),
        ]

    @pytest.mark.parametrize("said", [{"precision": "seconds"}, {"precision": "milliseconds"}, {}])
    def test_no_record_lies_between_two_windows_whose_ends_are_inclusive(
        self, said: dict[str, str]
    ) -> None:
        edge = datetime(2026, 3, 29, tzinfo=UTC)
        moments = [edge + timedelta(microseconds=us) for us in (-999_999, -250_000, -900, -1, 0, 1)]

        def found(lower: datetime, upper: datetime) -> set[datetime]:
            asked = {"window_from": lower, "window_to": upper}
            params = dict(incremental_params(window(upper="inclusive", **said), asked))
            first, last = (datetime.fromisoformat(params[name]) for name in ("from", "to"))
            return {moment for moment in moments if first <= moment <= last}

        day = timedelta(days=1)
        assert found(edge - day, edge) | found(edge, edge + day) == set(moments)

    def test_the_first_time_everything_since_ever_is_asked_for(self) -> None:
        since = Resource.model_validate(
            {"path": "/a", "incremental": {"by": "since", "parameter": "since"}}
        )
        assert incremental_params(since.incremental, {}) == []
        assert incremental_params(since.incremental, {"since": NOON}) == [
            ("since", "2026-03-29T12:30:15.250000Z")
        ]

    @pytest.mark.parametrize(
        "zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
    )
    @pytest.mark.parametrize("form", ["rfc3339", "date", "epoch_seconds", "%Y-%m-%dT%H:%M:%S"])
    @settings(max_examples=20)
    @given(start=st.dates(date(2025, 1, 1), date(2027, 1, 1)))
    def test_neighbouring_days_meet_also_where_clocks_are_changed(
        self, zone: str, form: str, start: date
    ) -> None:
        tz, declared = ZoneInfo(zone), window(zone=zone, format=form)
        midnights = [
            datetime(day.year, day.month, day.day, tzinfo=tz)
            for day in (start + timedelta(days=i) for i in range(4))
        ]
        said = [
            dict(incremental_params(declared, {"window_from": one, "window_to": next_}))
            for one, next_ in zip(midnights, midnights[1:], strict=False)
        ]
        assert all(a["to"] == b["from"] for a, b in zip(said, said[1:], strict=False))


class TestAtAServer:
    def test_windows_tile_the_orders(self) -> None:
        orders = Resource.model_validate(
            {
                "path": "/orders",
                "records": "$.data",
                "pagination": {"style": "cursor", "next": "$.meta.next_cursor", "parameter": "cursor"},
                "incremental": {
                    "by": "window", "from_parameter": "updated_from", "to_parameter": "updated_to",
                },
                "retry": QUICK,
            }
        )  # fmt: skip
        with ShopServer() as shop_api, ApiSession(shop_api.url) as session:
            edges = [datetime(2025, 12, 31, tzinfo=UTC) + timedelta(days=20 * i) for i in range(7)]
            found = [
                record.text
                for one, next_ in zip(edges, edges[1:], strict=False)
                for page in read_pages(session, orders, {"window_from": one, "window_to": next_})
                for record in page.records
            ]
            assert (
                len(found) == len(set(found)) == shop_api.store.value("SELECT count(*) FROM orders")
            )
