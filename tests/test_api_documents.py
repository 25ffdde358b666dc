"""Documents: JSON comes through without harm, and what Postgres cannot hold is noticed record by record."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew.api.documents import UnreadableError, fingerprint, read_document
from sinew.api.jsonpaths import MISSING, broken_paths, query
from sinew.errors import ConfigurationError
from sinew.spec.resources import Resource


def record(text: str) -> tuple[str, tuple[str, ...]]:
    document = read_document(text.encode())
    return tuple(document.record(document.root))  # type: ignore[return-value]


class TestNumbers:
    @pytest.mark.parametrize(
        "text",
        [
            '{"a":1.10}',
            '{"a":1.1}',
            '{"a":9007199254740993}',
            '{"a":-123456789012345678901234567890}',
            '{"a":0.1000000000000000055511151231257827}',
            '{"a":[1.0,100,-0.0,8.250]}',
        ],
    )
    def test_every_digit_and_the_scale_survive(self, text: str) -> None:
        assert record(text) == (text, ())

    def test_an_exponent_keeps_its_value(self) -> None:
        text, flaws = record('{"a":1.5e3,"b":2E-7}')
        values = json.loads(text, parse_float=Decimal)
        assert (values, flaws) == ({"a": Decimal("1.5E+3"), "b": Decimal("2E-7")}, ())

    def test_a_whole_number_of_thousands_of_digits_survives(self) -> None:
        text = '{"a":' + "7" * 5000 + "}"
        assert record(text) == (text, ())

    @pytest.mark.parametrize("number", ["1e131072", "-1E+999999999999999999999", "1e-16384"])
    def test_a_number_beyond_numeric_is_a_flaw(self, number: str) -> None:
        text, flaws = record(f'{{"ok":1,"a":{{"b":{number}}}}}')
        assert flaws == ("$.a.b: a number beyond what Postgres can hold",)
        assert json.loads(text) == {"ok": 1, "a": {"b": number}}

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
    def test_what_is_no_number_is_a_flaw_of_its_record_alone(self, number: str) -> None:
        document = read_document(f'[{{"a":1}},{{"a":{number}}}]'.encode())
        good, bad = (document.record(value) for value in document.root)
        assert good == ('{"a":1}', ())
        assert bad == (f'{{"a":"{number}"}}', (f"$.a: {number} is no JSON",))


class TestTexts:
    def test_u0000_is_a_flaw_of_its_record_alone(self) -> None:
        document = read_document(rb'[{"a":"x"},{"b":["y\u0000z"]},{"c":"\\u0000"}]')
        first, second, third = (document.record(value) for value in document.root)
        assert (first.flaws, third.flaws) == ((), ())
        assert second.flaws == ("$.b[0]: U+0000, which Postgres cannot hold",)
        assert json.loads(second.text) == {"b": ["y\ufffdz"]}
        assert third.text == r'{"c":"\\u0000"}'

    @pytest.mark.parametrize("escape", [r"\ud83d", r"\ude9a", r"\\\ud83d", r"\\ud83d\ude9a"])
    def test_an_unpaired_surrogate_is_a_flaw(self, escape: str) -> None:
        text, flaws = record(f'{{"a":"{escape}"}}')
        assert flaws == ("$.a: an unpaired surrogate, which is no character",)
        assert "\ufffd" in json.loads(text)["a"]

    def test_a_paired_one_is_the_character_that_it_means(self) -> None:
        assert record(r'{"a":"\ud83d\ude9a"}') == ('{"a":"🚚"}', ())

    def test_a_key_may_be_flawed_too(self) -> None:
        text, flaws = record(r'{"a\u0000":1}')
        assert flaws == ("$: a key: U+0000, which Postgres cannot hold",)
        assert json.loads(text) == {"a\ufffd": 1}


class TestRepeatedKeys:
    def test_a_key_that_is_repeated_is_a_flaw_and_the_last_value_stays(self) -> None:
        document = read_document(b'[{"a":1},{"x":{"a":1,"b":2,"a":3}}]')
        good, bad = (document.record(value) for value in document.root)
        assert good.flaws == ()
        assert bad == ('{"x":{"a":3,"b":2}}', ("$.x: the key 'a' is repeated",))

    def test_the_same_key_in_two_objects_is_none(self) -> None:
        assert record('{"a":{"a":1},"b":{"a":1}}')[1] == ()


class TestUnreadable:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b'{"a": 1', "at character 7 of 7"),
            (b'{"secret": x}', "at character 11"),
            (b"", "at character 0"),
            (b'"\xff"', "byte 1 is no UTF-8"),
            (b"[" * 100_000, "nested too deeply"),
        ],
    )
    def test_a_body_that_is_no_json_is_told_by_its_place_and_not_quoted(
        self, body: bytes, reason: str
    ) -> None:
        with pytest.raises(UnreadableError) as raised:
            read_document(body)
        assert reason in str(raised.value) and "secret" not in str(raised.value)

    def test_a_byte_order_mark_is_no_harm(self) -> None:
        assert read_document(b"\xef\xbb\xbf[1]").root == [1]

    def test_another_charset_is_taken_where_it_is_declared(self) -> None:
        assert read_document('"Köln"'.encode("latin-1"), "ISO-8859-1").root == "Köln"
        with pytest.raises(UnreadableError, match="not written in 'martian'"):
            read_document(b'"\xff"', "martian")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class TestAnyDocument:
    @settings(max_examples=150)
    @given(JSON, st.booleans())
    def test_a_record_says_what_its_source_said(self, value: Any, ascii_only: bool) -> None:
        source = json.dumps(value, default=str, ensure_ascii=ascii_only)
        text, flaws = record(source)
        assert flaws == ()
        exact = {"parse_float": Decimal, "parse_int": Decimal}
        assert json.loads(text, **exact) == json.loads(source, **exact)
        assert fingerprint(read_document(text.encode()).root) == fingerprint(
            read_document(source.encode()).root
        )


class TestPaths:
    ROOT = {"data": [{"id": 1}, {"id": 2}], "one": {"id": 3}, "null": None, "map": {"a": 1, "b": 2}}

    @pytest.mark.parametrize(
        ("path", "records"),
        [
            ("$.data[*]", [{"id": 1}, {"id": 2}]),
            ("$.data", [{"id": 1}, {"id": 2}]),
            ("$.one", [{"id": 3}]),
            ("$.map[*]", [1, 2]),
            ("$.data[-1]", [{"id": 2}]),
            ("$['data'][0]['id']", [1]),
            ("$..id", [1, 2, 3]),
            ("$.data[?@.id > 1]", [{"id": 2}]),
            ("$.data[0,1].id", [1, 2]),
            ("$.gone[*]", None),
            ("$.null[*]", None),
            ("$.null", None),
            ("$.one.id[*]", None),
        ],
    )
    def test_records_are_what_the_path_means(self, path: str, records: Any) -> None:
        assert query(path).records(self.ROOT) == records

    @pytest.mark.parametrize(
        "path", ["$.data[*].id", "$.data[1].id", "$.data[9]", "$..id", "$.map[*]", "$"]
    )
    def test_the_short_way_finds_what_the_library_finds(self, path: str) -> None:
        from jsonpath import JSONPathEnvironment

        found = [match.obj for match in JSONPathEnvironment(strict=True).finditer(path, self.ROOT)]
        assert query(path).values(self.ROOT) == found
        assert query(path).first(self.ROOT) == (found[0] if found else MISSING)

    def test_a_malformed_path_is_told(self) -> None:
        with pytest.raises(ConfigurationError, match=r"'\$\.data\[' is no JSONPath"):
            query("$.data[")

    def test_all_malformed_paths_of_a_resource_are_found_with_their_place(self) -> None:
        resource = Resource.model_validate(
            {
                "path": "/orders",
                "records": "$.data[",
                "key": ["$.id", "$..["],
                "pagination": {"style": "cursor", "next": "$.a b", "parameter": "c"},
            }
        )
        places = [place for place, _ in broken_paths(resource)]
        assert places == [("records",), ("key", 1), ("pagination", "next")]
