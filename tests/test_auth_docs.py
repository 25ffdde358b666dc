"""What docs/authentication.md promises: its examples are connections, its table is whole, its tests exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from sinew.auth.models import TYPES, ClientAuth, Grant, OAuth2
from sinew.hooks.apis import api_endpoint, api_endpoint_from_env

PROJECT = Path(__file__).resolve().parents[1]
TEXT = (PROJECT / "docs" / "authentication.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
STYLES = ("jwt", "opaque")


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_a_good_connection(monkeypatch: pytest.MonkeyPatch, example: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_API", json.dumps(json.loads(example)))
    assert api_endpoint_from_env("shop_api") == api_endpoint("shop_api")


def test_there_is_an_example_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    auths = []
    for example in EXAMPLES:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_API", example.replace("\n", " "))
        auths.append(api_endpoint_from_env("shop_api").auth)
    assert {auth.type for auth in auths} == TYPES.keys()
    oauth2 = [auth for auth in auths if isinstance(auth, OAuth2)]
    assert {auth.grant for auth in oauth2} == set(get_args(Grant))
    assert {auth.client_auth for auth in oauth2} == set(get_args(ClientAuth))


def test_what_the_form_writes_is_the_same_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    (form,) = [example for example in EXAMPLES if '"auth_type"' in example]
    (block,) = [
        example
        for example in EXAMPLES
        if '"client_secret_basic"' in example and '"auth_type"' not in example
    ]
    read = []
    for example in (form, block):
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_API", example.replace("\n", " "))
        read.append(api_endpoint_from_env("shop_api"))
    assert read[0] == read[1]


def rows() -> dict[tuple[str, str], tuple[str, str]]:
    """(grant, client authentication) to the ids of the tests for JWT and opaque tokens."""
    found = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `([^`]*)` \| `([^`]*)` \|$", TEXT, re.MULTILINE)
    assert len({row[:2] for row in found}) == len(found)
    return {(grant, way): (jwt, opaque) for grant, way, jwt, opaque in found}


def test_the_table_has_every_combination_of_the_models() -> None:
    every = {(grant, way) for grant in get_args(Grant) for way in get_args(ClientAuth)}
    # Which the models refuse, as RFC 6749 §4.4 does.
    assert rows().keys() == every - {("client_credentials", "none")}


def test_each_cell_names_the_test_of_its_own_combination() -> None:
    for (grant, way), cells in rows().items():
        assert cells == tuple(f"{grant}-{way}-{style}" for style in STYLES)


def test_every_test_that_is_named_exists() -> None:
    cells = [name for pair in rows().values() for name in pair]
    named = {f"tests/test_auth_grants.py::test_it_reaches_the_api[{cell}]" for cell in cells}
    others = {f"tests/{name}" for name in re.findall(r"`(test_\w+\.py[^` ]*)`", TEXT)}
    collected = collect(sorted({name.partition("::")[0] for name in named | others}))
    assert named <= collected
    # A test with parameters is named without them, and a whole file without its tests.
    stems = collected | {re.sub(r"\[.*", "", name) for name in collected}
    stems |= {name.partition("::")[0] for name in collected}
    assert others - stems == set()
    assert len(named) == 82 and len(others) > 25


def collect(files: list[str]) -> set[str]:
    """The ids of all tests in these files."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return {line for line in done.stdout.splitlines() if "::" in line}
