"""What the operators of syncs share: the trigger form, the engine's context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.param import ParamsDict

from sinew.hooks.connections import endpoint
from sinew.hooks.mappings import read_sync
from sinew.operators.base import airflow_errors
from sinew.operators.retrying import WaitAsAsked

if TYPE_CHECKING:
    from airflow.sdk import Context as AirflowContext

    from sinew.engine.steps import Context
    from sinew.spec.sync import Sync


@dataclass(frozen=True)
class SyncForm:
    """What a person chose in the trigger form; moments are texts as they were written."""

    lower: str | None
    upper: str | None
    ask_again: bool

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> SyncForm:
        """Read a run's params."""
        return cls(params["from"], params["to"], bool(params["ask_again"]))


@dataclass(frozen=True)
class SyncRun:
    """One task of one run: its form, the engine's context, and Airflow's."""

    form: SyncForm
    sync: Sync
    engine: Context
    airflow: AirflowContext

    @property
    def run_id(self) -> str:
        """Under which name the ledger keeps this run.

        A run that was cleared, as by a backfill that does a day again, has the id of the first one. The number
        tells them apart, so that its `plan` opens a new reading, while a retry finds its own again.
        """
        found = self.airflow["dag_run"]
        return f"{found.run_id} #{found.clear_number}" if found.clear_number else found.run_id


class SyncOperator(BaseOperator):
    """A task of a sync: ``work`` does it. What no retry can mend fails at once."""

    ui_fgcolor: str = "#1a1a1a"

    def __init__(self, *, sync: str, **kwargs: Any) -> None:
        # Not a default argument of the DAG: those are stored with it, and a policy cannot be.
        kwargs.setdefault("retry_policy", WaitAsAsked())
        super().__init__(**kwargs)
        # Every task gets a copy of the form, and serialising checks each copy; a run's form comes
        # from the DAG all the same.
        self.params = ParamsDict()
        self.sync = sync

    def execute(self, context: AirflowContext) -> Any:
        """Do the work."""
        with airflow_errors():
            sync = read_sync(self.sync)
            form = SyncForm.of(context["params"])
            return self.work(SyncRun(form, sync, sync_context(sync), context))

    def work(self, run: SyncRun) -> Any:
        """What the task does; returns at most batch ids and moments, never rows."""
        raise NotImplementedError


def sync_context(sync: Sync) -> Context:
    """The mapping and what it reads and writes, as the engine takes them."""
    from sinew.engine.steps import Context

    home = endpoint(sync.home_conn)
    api = sync.source.api or sync.target.api
    opener = None
    if api is not None:
        from sinew.hooks.apis import api_opener

        opener = api_opener(api)
    # An API's records land in the home database, which is then all that the engine reads from.
    source = endpoint(sync.source.conn) if sync.source.conn else home
    return Context(sync, source, home, open_api=opener)
