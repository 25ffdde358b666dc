"""Whatever is killed, and whenever: the next run brings the migration to the same end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import psycopg
import pytest

from demo.legacy import build
from demo.stack.postgres import EmbeddedPostgres
from sinew.engine.session import Endpoint
from sinew.paths import PROJECT_INCLUDE
from tests.fix_shop import COHORT, MAPPING, SOURCE, TARGET
from tests.kit_crash import VICTIMS, Campaign, Cut, Job, Moment, boundaries, mixed
from tests.kit_spoil import no_proof_of_input, record_apart_from_the_work

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

# Enough households for runs of some seconds, with every defect of the demo in them.
_SCALE = 0.1
_RANDOM_KILLS = 40


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A durable server of this module's own, to be killed."""
    # Outside pytest's own folders, which the next run of pytest closes to the server's user.
    folder = tempfile.mkdtemp(prefix="sinew-crash-")
    made = EmbeddedPostgres(folder, {"shared_buffers": "128MB"})
    try:
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shop_job(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The shop's migration in two phases, about ten batches."""
    include = tmp_path_factory.mktemp("include")
    (include / "contracts" / "shop").mkdir(parents=True)
    for name, statements in (("old_shop", SOURCE), ("blank_shop", TARGET)):
        server.ensure_database(name)
        with server.connect(name) as conn:
            conn.execute(statements.encode())
    mapping = MAPPING.format(
        rows=1000, cohort=COHORT, strategy="trickle", hash="auto", existing="fail"
    )
    source, home = (Endpoint(name, server.dsn(name)) for name in ("old_shop", "blank_shop"))
    return Job(mapping, str(include), source, home, rows=1000)


def test_a_shop_that_is_cut_at_the_borders_of_its_steps_arrives_as_if_nothing_had_happened(
    server: EmbeddedPostgres, shop_job: Job
) -> None:
    campaign = Campaign(server, shop_job, "blank_shop", tell=print)
    # Half of the borders in each run of the tests; the campaign makes them all.
    cuts = mixed(
        [*boundaries()[::2], *(Moment("seen", step) for step in ("plan", "settle", "reconcile"))],
        VICTIMS,
        1,
    )
    campaign.fight(
        [
            *cuts,
            Cut("worker", Moment("after", seconds=0.5)),
            Cut("backend", Moment("seen", "extract")),
        ]
    )
    assert sum(campaign.done.values()) == len(cuts) + 2 >= 14


@pytest.mark.parametrize("state", ["extracted", "transformed"])
def test_a_server_whose_sessions_roll_back_while_it_dies_starts_again(
    server: EmbeddedPostgres, shop_job: Job, state: str
) -> None:
    # PostgreSQL 18 itself does not, when such a session has made an unlogged table.
    Campaign(server, shop_job, "blank_shop").fight([Cut("postmaster", Moment("before", state))])


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills_over_the_demo_leave_it_as_a_run_without_kills(
    server: EmbeddedPostgres,
) -> None:
    campaign = Campaign(
        server, _retail_job(server), "blank_retail", tell=lambda line: print(line, flush=True)
    )
    wanted = campaign.wanted()
    usual = campaign.seconds
    steps = ("plan", "extract", "transform", "check", "load", "validate", "settle", "reconcile")
    at_borders = mixed(boundaries() * 3, VICTIMS, 2)
    at_steps = mixed([Moment("seen", step) for step in steps], VICTIMS, 3)
    part = usual / 3 / _RANDOM_KILLS
    moments = [Moment("after", seconds=part * (i + 1)) for i in range(_RANDOM_KILLS)]
    at_random = mixed(moments, VICTIMS[:1] * 3 + VICTIMS, 4)
    campaign.fight([*at_random[::2], *at_borders, *at_steps, *at_random[1::2]], wanted)
    total = sum(campaign.done.values())
    print(
        f"{total} kills in {campaign.rounds - 1} rounds, each as a run without kills (which takes {usual:.0f} s):"
    )
    for kind, count in sorted(campaign.done.items()):
        print(f"  {count:4} {kind}")
    assert total >= 100


def _retail_job(server: EmbeddedPostgres) -> Job:
    for name in ("old_retail", "blank_retail"):
        server.ensure_database(name)
    with (
        psycopg.connect(server.dsn("old_retail")) as old,
        psycopg.connect(server.dsn("blank_retail")) as new,
    ):
        build(old, new, scale=_SCALE)
    mapping = (PROJECT_INCLUDE / "mappings" / "migrations" / "retail.yaml").read_text(
        encoding="utf-8"
    )
    source, home = (Endpoint(name, server.dsn(name)) for name in ("old_retail", "blank_retail"))
    return Job(mapping, str(PROJECT_INCLUDE), source, home, rows=40_000)


# --- the campaign notices what it is there to notice


def test_a_step_that_records_apart_from_its_work_is_caught_half_done(
    server: EmbeddedPostgres, shop_job: Job
) -> None:
    campaign = Campaign(server, shop_job.spoiled(record_apart_from_the_work), "blank_shop")
    with pytest.raises(
        AssertionError, match=r"before loaded: \['customers: batch \d+ is checked with 9 entries, 0"
    ):
        campaign.fight([Cut("worker", Moment("before", "loaded"))], {})


def test_a_step_that_trusts_its_input_is_caught_after_a_crash_of_the_server(
    server: EmbeddedPostgres, shop_job: Job
) -> None:
    campaign = Campaign(server, shop_job.spoiled(no_proof_of_input), "blank_shop")
    with pytest.raises(AssertionError, match="MismatchError|differs after the cuts"):
        campaign.fight([Cut("server", Moment("claim", "checked"))])
