"""Resources and deliveries: what a mapping may say, and what it is told when it says something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from sinew.spec.columns import Model
from sinew.spec.delivery import Delivery
from sinew.spec.exchange import fields_of
from sinew.spec.resources import Resource


def models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """A model and all that it holds."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            yield from models(part, seen)


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


SEEN: set[type[BaseModel]] = set()
ALL = [*models(Resource, SEEN), *models(Delivery, SEEN)]


class TestModels:
    def test_all_of_them_are_looked_at(self) -> None:
        assert len(ALL) > 15

    @pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
    def test_each_is_frozen_and_knows_its_keys_and_explains_them(
        self, model: type[BaseModel]
    ) -> None:
        assert issubclass(model, Model)
        assert model.model_config["frozen"] and model.model_config["extra"] == "forbid"
        for name, field in model.model_fields.items():
            assert field.description and field.description.endswith("."), name
            assert field.examples, name

    @pytest.mark.parametrize("model", [Resource, Delivery])
    def test_an_editor_gets_a_schema(self, model: type[BaseModel]) -> None:
        schema = model.model_json_schema(by_alias=True)
        # A model that holds itself stands among the definitions.
        whole = schema if "properties" in schema else schema["$defs"][model.__name__]
        assert whole["additionalProperties"] is False


def told(**declared: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        Resource.model_validate({"path": "/a", **declared})
    return str(raised.value)


CURSOR = {"style": "cursor", "next": "$.n", "parameter": "c"}


class TestResources:
    @pytest.mark.parametrize(
        ("declared", "said"),
        [
            ({"path": "orders/{id"}, "without its partner"),
            ({"path": "//other/orders"}, "is no path"),
            ({"path": "/a#b"}, "is no path"),
            ({"records": "data[*]"}, "is no JSONPath; allowed: a query that begins with $"),
            ({"body": {"a": 1}}, "a GET has no body"),
            ({"pagination": CURSOR | {"send_in": "body"}}, "a GET has no body"),
            ({"pagination": CURSOR | {"size_parameter": "limit"}}, "without `size`"),
            (
                {"pagination": {"style": "offset", "size": 1}},
                "an overlap of one record needs pages of two",
            ),
            (
                {"pagination": {"style": "offset", "advance": "size", "size": 9}},
                "`check: every_page`",
            ),
            ({"pagination": {"style": "page_number", "end": "short"}}, "needs `size`"),
            ({"pagination": {"style": "keyset", "parameters": {}}}, "at least 1 item"),
            ({"pagination": {"style": "scroll"}}, "does not match any of the expected tags"),
            ({"timeouts": {"read": 0}}, "greater than 0"),
            ({"timeouts": {"read": float("inf")}}, "finite"),
            ({"limits": {"concurrency": 100}}, "less than or equal to 64"),
            (
                {"each": {"of": "orders", "take": {"id": "$.id"}}},
                "all parents would get the same answer",
            ),
            ({"headers": {"Cookie": "a=b"}}, "does not belong into a mapping"),
            (
                {"incremental": {"by": "since", "parameter": "s", "format": "iso"}},
                "no format of a moment",
            ),
            ({"params": {"a": "{b"}}, "without its partner"),
        ],
    )
    def test_what_makes_no_sense_is_told(self, declared: dict[str, Any], said: str) -> None:
        assert said in told(**declared)

    def test_braces_are_doubled_to_stand_for_themselves(self) -> None:
        assert fields_of("/a/{b}/{{c}}/{d_1}") == ("b", "d_1")

    def test_names_are_found_in_path_parameters_and_body(self) -> None:
        found = Resource.model_validate(
            {
                "path": "/shops/{shop}/orders",
                "method": "POST",
                "params": {"a": ["{x}", 1, "{shop}"]},
                "body": {"q": [{"y": "{y}"}]},
            }
        )
        assert found.fields == ("shop", "x", "y")
