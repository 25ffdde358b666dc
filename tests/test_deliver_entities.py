"""Deliver: entities that refer to each other, a home of its own, and mappings that cannot work."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import psycopg

from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.engine.sync_run import run_sync
from sinew.engine.windows import EntityRows
from sinew.errors import SpecError
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.fix_deliver import MAPPING, NOW
from tests.fix_sync import api_session
from tests.kit_api import Asked, LocalServer, Reply, serving

FAMILY = """
sync: family
source: {conn: crm, schema: crm}
target: {api: api}
home: {conn: warehouse}
max_rejects: 0.9
entities:
  pets:
    from: pets
    key: [id]
    columns:
      pet: {key: uuid}
      owner: {ref: people, by: owner_id}
      name: {from: name}
    deliver:
      create: {method: PUT, path: "/pets/{pet}"}
  people:
    from: people
    key: [id]
    vanished: delete
    columns:
      person: {key: copy, from: id}
      name: {from: name}
    deliver:
      create: {method: PUT, path: "/people/{person}"}
      update: {method: PUT, path: "/people/{person}"}
      delete: {method: DELETE, path: "/people/{person}"}
"""


def refuses_bob(asked: Asked) -> Reply:
    if asked.path.startswith("/people/") and asked.body and asked.json["name"] == "Bob":
        return Reply({"code": "no_bobs", "message": "Bob is not welcome"}, 422)
    return Reply({}, 201)


def run(server: LocalServer, source: str, home: str) -> dict[str, EntityRows]:
    context = Context(
        parse_mapping(FAMILY, kind=Sync),
        Endpoint("crm", source),
        Endpoint("warehouse", home),
        open_api=partial(api_session, server.url),
    )
    return run_sync(context, None, datetime.fromisoformat(NOW), str(len(server.asked)))


class TestReferences:
    def test_parents_are_sent_first_and_children_of_refused_ones_are_rejects(
        self, source: psycopg.Connection, source_db: str, home: psycopg.Connection, home_db: str
    ) -> None:
        source.execute(
            "CREATE SCHEMA crm; CREATE TABLE crm.people (id integer PRIMARY KEY, name text); "
            "CREATE TABLE crm.pets (id integer PRIMARY KEY, owner_id integer, name text); "
            "INSERT INTO crm.people VALUES (1, 'Ann'), (2, 'Bob'); "
            "INSERT INTO crm.pets VALUES (1, 1, 'Rex'), (2, 2, 'Tom'), (3, NULL, 'Stray')"
        )
        source.commit()
        with serving(refuses_bob) as (server, _):
            first = run(server, source_db, home_db)
            assert (first["people"].loaded, first["people"].rejected) == (1, 1)
            assert (first["pets"].loaded, first["pets"].rejected) == (2, 1)
            asked = [(a.path.split("/")[1], a.json.get("owner")) for a in server.asked]
            assert [path for path, _ in asked] == ["people", "people", "pets", "pets"]
            assert {owner for path, owner in asked if path == "pets"} == {1, None}
            told = home.execute("SELECT entity, rule FROM sinew.reject ORDER BY 1").fetchall()
            assert told == [("people", "refused"), ("pets", "parent_rejected")]
            # Once the parent is taken, the child follows.
            source.execute("UPDATE crm.people SET name = 'Rob' WHERE id = 2")
            source.commit()
            second = run(server, source_db, home_db)
            assert (second["people"].loaded, second["pets"].loaded) == (1, 1)
            assert (second["people"].rejected, second["pets"].rejected) == (0, 0)
        # The ledger lives at home, and the source is left alone.
        assert home.execute("SELECT count(*) FROM sinew.receipt").fetchone() == (6,)
        assert source.execute("SELECT to_regnamespace('sinew')").fetchone() == (None,)


def problems(old: str, new: str) -> list[str]:
    assert old in MAPPING
    try:
        parse_mapping(MAPPING.replace(old, new), file="m.yaml", kind=Sync)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


class TestMappingsThatCannotWork:
    def test_a_deletion_knows_the_target_key_alone(self) -> None:
        (told,) = problems(
            'DELETE, path: "/contacts/{external_id}"', 'DELETE, path: "/contacts/{email}"'
        )
        assert (
            told.startswith("m.yaml:22:38:")
            and "'email' is not known; allowed: external_id" in told
        )

    def test_a_body_and_a_comparison_name_columns(self) -> None:
        (told,) = problems(
            "path: /contacts}", 'path: /contacts, body: {mail: "{mail}", key: "{idempotency_key}"}}'
        )
        assert "the column 'mail' is not known" in told and "did you mean 'email'?" in told
        (told,) = problems("{email: $.email,", "{mail: $.email,")
        assert "the column 'mail' is not known" in told

    def test_a_deleted_row_must_be_found_by_its_key(self) -> None:
        (told,) = problems(
            "        path: /contacts/{external_id}\n", "        path: /contacts/{email}\n"
        )
        assert "a deleted row is looked up too, and has its target key alone" in told

    def test_references_in_a_circle_cannot_be_sent(self) -> None:
        (told,) = problems(
            "      full_name:",
            "      friend: {ref: contacts, by: friend_id, on_error: null}\n      full_name:",
        )
        assert "a reference in a circle" in told
