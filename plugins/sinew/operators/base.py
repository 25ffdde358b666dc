"""What all operators share: the trigger form, the engine's context, Airflow's errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sinew.errors import ConfigurationError, FatalError, RetriableError
from sinew.hooks.connections import endpoint
from sinew.hooks.mappings import read_migration
from sinew.operators.retrying import retriable

if TYPE_CHECKING:
    from airflow.sdk import Context as AirflowContext

    from sinew.engine.steps import Context


@dataclass(frozen=True)
class Form:
    """What a person chose in the trigger form."""

    phases: tuple[str, ...]
    batch_rows: int
    parallelism: int
    dry_run: bool

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Form:
        """Read a run's params."""
        return cls(
            phases=tuple(params["phases"]),
            batch_rows=int(params["batch_rows"]),
            parallelism=int(params["parallelism"]),
            dry_run=bool(params["dry_run"]),
        )

    def moves(self, phase: str) -> bool:
        """Whether this run moves rows of the phase."""
        return phase in self.phases and not self.dry_run


@dataclass(frozen=True)
class Run:
    """One task of one run: its form, the engine's context, and Airflow's."""

    form: Form
    engine: Context
    airflow: AirflowContext

    @property
    def run_id(self) -> str:
        """Airflow's id of the run."""
        return str(self.airflow["run_id"])


class SinewOperator(BaseOperator):
    """A task of a migration: ``work`` does it.

    A phase that the form left out is skipped; the engine's errors become Airflow's, so that those
    which no retry can mend fail at once.
    """

    ui_fgcolor: str = "#1a1a1a"

    def __init__(self, *, migration: str, phase: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Every task gets a copy of the form, and serialising checks each copy: 3 s for a hundred
        # tasks, at every parse. A run's form comes from the DAG all the same.
        self.params = ParamsDict()
        self.migration = migration
        self.phase = phase

    def execute(self, context: AirflowContext) -> Any:
        """Do the work, unless the form left it out."""
        form = Form.of(context["params"])
        if self.phase is not None and not form.moves(self.phase):
            return self.left_out(form)
        with airflow_errors():
            return self.work(Run(form, engine_context(self.migration, form), context))

    def left_out(self, form: Form) -> Any:
        """What happens when the form leaves this phase out."""
        why = "this is a dry run" if form.dry_run else f"phase {self.phase} was not chosen"
        raise AirflowSkipException(f"Nothing to do: {why}")

    def work(self, run: Run) -> Any:
        """What the task does; returns at most batch ids, never rows."""
        raise NotImplementedError


def engine_context(migration: str, form: Form | None = None) -> Context:
    """The mapping and both databases, as the engine takes them."""
    from sinew.engine.steps import Context

    mapping = read_migration(migration)
    return Context(
        mapping,
        endpoint(mapping.source.conn),
        endpoint(mapping.target.conn),
        form.parallelism if form else None,
    )


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Fail at once where no retry can help; the message is all that the log shows of our errors."""
    try:
        yield
    except (ConfigurationError, FatalError) as error:
        raise AirflowFailException(str(error)) from None
    except RetriableError as error:
        raise retriable(error) from None
