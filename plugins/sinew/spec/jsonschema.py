"""The JSON Schema of mapping files, for editors that complete and check while one types.

``python -m sinew.spec.jsonschema`` prints that of migrations, ``… sync`` that of syncs; mapping.schema.json and
sync.schema.json in include/mappings keep them.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from sinew.spec.models import Migration
from sinew.spec.pipeline import Pipeline
from sinew.spec.sync import Sync

Kind = Literal["migration", "sync"]
ID = "mapping.schema.json"
_FILES: dict[str, tuple[type[Pipeline], str, str]] = {
    "migration": (Migration, ID, "Sinew mapping"),
    "sync": (Sync, "sync.schema.json", "Sinew sync"),
}


def mapping_schema(kind: Kind = "migration") -> dict[str, Any]:
    """JSON Schema (2020-12) of the mapping files of one kind of pipelines."""
    model, file, title = _FILES[kind]
    schema = model.model_json_schema(by_alias=True)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": file,
        "title": title,
    }
    # Names of entities and resources have a pattern; pydantic lets the others through.
    for name in ("entities", "resources"):
        if name in schema["properties"]:
            schema["properties"][name]["additionalProperties"] = False
    result: dict[str, Any] = _tidy({**schema, **head})
    return result


_TITLES = [title for _, _, title in _FILES.values()]


def _tidy(value: Any) -> Any:
    """Drop generated titles, which editors show in the place of the descriptions."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    generated = isinstance(value.get("title"), str) and value["title"] not in _TITLES
    return {k: _tidy(item) for k, item in value.items() if not (k == "title" and generated)}


def render(kind: Kind = "migration") -> str:
    """The schema as the text of its file."""
    return json.dumps(mapping_schema(kind), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(render("sync" if sys.argv[1:] == ["sync"] else "migration"), end="")
