"""Run a delivery in a process of its own, kill it in the middle, and look at what the API's log says in the end."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import psycopg

from demo.shop.api import Store
from demo.shop.api.write_log import entries, times_applied
from sinew.engine.session import Endpoint
from sinew.engine.steps import Context
from sinew.engine.sync_run import run_sync
from sinew.spec.reader import parse_mapping
from sinew.spec.sync import Sync
from tests.fix_deliver import NOW
from tests.fix_sync import api_session
from tests.kit_crash import Outcome, ended, start

_PATIENCE_S = 120


@dataclass(frozen=True)
class DeliveryJob:
    """What a run needs, in a form that crosses the border of a process."""

    mapping: str
    url: str
    home: Endpoint
    run_id: str
    include: str = ""
    rows: int = 0
    spoil: Callable[[], None] | None = None

    def context(self) -> Context:
        """The context of the run's steps."""
        sync = parse_mapping(self.mapping, kind=Sync)
        return Context(sync, self.home, self.home, open_api=partial(api_session, self.url))


def _deliver(run_id: str, context: Context, _rows: int) -> None:
    run_sync(context, None, datetime.fromisoformat(NOW), run_id)


@dataclass
class KillCampaign:
    """Kills of one run, each after some more requests; what was acknowledged at each."""

    job: DeliveryJob
    store: Store
    seed: int = 1
    kills: int = 0
    receipts_at_kills: int = 0
    _settled: list[tuple[int, set[str]]] = field(default_factory=list)

    def fight(self, requests: int, kills: int) -> Outcome:
        """Kill the run ``kills`` times, at random places of its ``requests``, then let it end."""
        chance = random.Random(self.seed)
        for place in sorted(chance.sample(range(1, requests), kills)):
            self._run_until(place)
        process, receiver = start(self.job, partial(_deliver, self.job.run_id))
        outcome = ended(process, receiver)
        assert outcome is not None
        return outcome

    def _run_until(self, place: int) -> None:
        process, receiver = start(self.job, partial(_deliver, self.job.run_id))
        end = time.monotonic() + _PATIENCE_S
        while self._came() < place and process.is_alive():
            assert time.monotonic() < end
            time.sleep(0.001)
        alive = process.is_alive()
        process.kill()
        told = ended(process, receiver)
        assert alive and told is None, f"the run ended before it could be killed: {told}"
        self.kills += 1
        self._await_quiet()
        keys = self._acknowledged()
        self._settled.append((self._last(), keys))
        self.receipts_at_kills = len(keys)

    def _await_quiet(self) -> None:
        """The server may still be working on what the process had sent, and the database on its last commit."""
        with psycopg.connect(self.job.home.conninfo, autocommit=True) as conn:
            while conn.execute(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name LIKE 'sinew %')"
            ).fetchone() == (True,):
                time.sleep(0.005)
        last = -1
        while last != (last := self._last()):
            time.sleep(0.05)

    def _came(self) -> int:
        return int(self.store.value("SELECT count(*) FROM request_log"))

    def _last(self) -> int:
        return int(self.store.value("SELECT coalesce(max(id), 0) FROM request_log"))

    def _acknowledged(self) -> set[str]:
        with psycopg.connect(self.job.home.conninfo) as conn:
            rows = conn.execute(
                "SELECT idempotency_key FROM sinew.receipt WHERE status = 'accepted'"
            )
            return {row[0] for row in rows}

    # --- what it came to

    def sent_after_receipt(self) -> int:
        """Requests for rows whose receipt had been committed before an earlier kill."""
        log = entries(self.store)
        return sum(
            entry.key in keys for last, keys in self._settled for entry in log if entry.id > last
        )

    def repeats(self) -> tuple[int, int]:
        """Requests that came more than once, and how many of those under more than one idempotency key."""
        keys: defaultdict[tuple[str, str, str], list[str | None]] = defaultdict(list)
        for entry in entries(self.store):
            keys[entry.method, entry.path, entry.digest].append(entry.key)
        again = [found for found in keys.values() if len(found) > 1]
        return sum(len(found) - 1 for found in again), sum(len(set(found)) > 1 for found in again)

    def applied_more_than_once(self) -> int:
        """Contacts that were changed more than once."""
        return sum(count > 1 for count in times_applied(self.store).values())
