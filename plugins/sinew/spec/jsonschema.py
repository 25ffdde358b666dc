"""The JSON Schema of mapping files, for editors that complete and check while one types.

``python -m sinew.spec.jsonschema`` prints it; include/mappings/mapping.schema.json keeps it.
"""

from __future__ import annotations

import json
from typing import Any

from sinew.spec.models import Migration

ID = "mapping.schema.json"


def mapping_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a migration's mapping file."""
    schema = Migration.model_json_schema(by_alias=True)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Sinew mapping",
    }
    # Names of entities have a pattern; pydantic lets the others through.
    schema["properties"]["entities"]["additionalProperties"] = False
    result: dict[str, Any] = _tidy({**schema, **head})
    return result


def _tidy(value: Any) -> Any:
    """Drop generated titles, which editors show in the place of the descriptions."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    generated = isinstance(value.get("title"), str) and value["title"] != "Sinew mapping"
    return {k: _tidy(item) for k, item in value.items() if not (k == "title" and generated)}


def render() -> str:
    """The schema as the text of its file."""
    return json.dumps(mapping_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(render(), end="")
