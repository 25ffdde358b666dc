"""What a sync's mapping file says: where records come from, where they go, when, and how far back."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from sinew.spec.columns import Model
from sinew.spec.delivery import Delivery
from sinew.spec.json_fields import ElementsPath, Fields
from sinew.spec.parts import (
    BusinessCheck,
    Cohort,
    Entity,
    Existing,
    Limit,
    Name,
    Phase,
    Relation,
    Source,
    Target,
)
from sinew.spec.pipeline import Pipeline, sha256_of
from sinew.spec.resources import Bookmark, Resource, Since, Window, zone_name
from sinew.spec.steps import Text

# The phase under which the ledger keeps a sync's batches: a sync has no cohorts.
SYNC_PHASE = "sync"
Scope = Literal["window", "since", "full"]
_DATABASE_OR_API = "needs exactly one of conn (a database) and api (an HTTP API): keep one of them"


class SyncSource(Source):
    """Where records come from: a database, or an HTTP API."""

    conn: Text = Field(
        default="", description="Airflow connection id of a database.", examples=["commerce"]
    )
    api: Text | None = Field(
        default=None, description="Airflow connection id of an HTTP API.", examples=["shop_api"]
    )

    @model_validator(mode="after")
    def _one_end(self) -> SyncSource:
        if bool(self.conn) == bool(self.api):
            raise ValueError(f"`source` {_DATABASE_OR_API}")
        return self


class SyncTarget(Target):
    """Where rows go: tables of a database, or an HTTP API."""

    conn: Text = Field(
        default="", description="Airflow connection id of a database.", examples=["commerce"]
    )
    api: Text | None = Field(
        default=None,
        description="Airflow connection id of an HTTP API.",
        examples=["marketing_api"],
    )
    existing: Existing = Field(
        default="update",
        description="What a target table that already holds rows means: `update` overwrites rows with "
        "the same key, `keep` leaves those as they are, `fail` stops before a row moves.",
        examples=["update"],
    )

    @model_validator(mode="after")
    def _one_end(self) -> SyncTarget:
        if bool(self.conn) == bool(self.api):
            raise ValueError(f"`target` {_DATABASE_OR_API}")
        return self


class Home(Model):
    """The database with the ledger, the row ledger, landing and staging."""

    conn: Text = Field(description="Airflow connection id.", examples=["commerce"])


class Schedule(Model):
    """When a sync runs."""

    cron: Text | None = Field(
        default=None,
        description="Cron expression; each run covers the time between two of its moments.",
        examples=["0 2 * * *"],
    )
    timezone: Annotated[Text, AfterValidator(zone_name)] = Field(
        default="UTC", description="Time zone of `cron`.", examples=["Europe/Berlin"]
    )
    start: date | None = Field(
        default=None,
        description="First day that there is anything to sync; needed with `cron`.",
        examples=["2026-01-01"],
    )
    catchup: StrictBool = Field(
        default=False,
        description="Whether windows that were missed are run by themselves.",
        examples=[True],
    )
    max_active_runs: Annotated[StrictInt, Field(ge=1, le=64)] = Field(
        default=1,
        description="Runs at once. Windows may run side by side and in any order; a sync that reads "
        "`since` its last run may not.",
        examples=[4],
    )
    after: tuple[Annotated[Text, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")], ...] = (
        Field(
            default=(),
            description="Run when these entities of other pipelines were loaded, instead of by the clock.",
            examples=[["shop_orders.orders"]],
        )
    )

    @model_validator(mode="after")
    def _one_trigger(self) -> Schedule:
        if self.cron and self.after:
            raise ValueError("`cron` and `after` exclude each other: keep one of them")
        if self.cron and self.start is None:
            raise ValueError(
                "`cron` needs `start`, the first day that there is anything to sync, such as 2026-01-01"
            )
        if self.cron and len(self.cron.split()) != 5:
            raise ValueError(
                f"{self.cron!r} is no cron expression; allowed: five fields, such as 0 2 * * *: correct it"
            )
        return self


class Watermark(Model):
    """The column that says when a row changed."""

    column: Text = Field(
        description="Column or field with the moment of the last change.", examples=["updated_at"]
    )
    zone: Annotated[Text, AfterValidator(zone_name)] = Field(
        default="UTC",
        description="Time zone of moments that are written without one.",
        examples=["Europe/Berlin"],
    )
    by: Literal["window", "since"] = Field(
        default="window",
        description="Of a database: `window` reads the rows whose moment lies in the run's data "
        "interval; `since` those from the last run's end on. An API's resource says it itself.",
        examples=["since"],
    )
    overlap: Annotated[StrictInt | StrictFloat, Field(ge=0)] = Field(
        default=0,
        description="Seconds before the window that are read again, because a transaction may commit "
        "late what it wrote early.",
        examples=[900],
    )


class Mark(Model):
    """A row that is gone keeps its place, marked."""

    mark: Text = Field(
        description="Column of the target that is set: a timestamp to the moment, a boolean to true.",
        examples=["deleted_at"],
    )


class SyncRelation(Relation):
    """What an entity reads: a table, a view, a SQL file, or the records of one of the mapping's resources."""

    resource: Name | None = Field(
        default=None, description="Resource whose records are read.", examples=["orders"]
    )
    records: ElementsPath | None = Field(
        default=None,
        description="Elements of an array in each record, instead of the record itself.",
        examples=["$.lines[*]"],
    )
    parent: Fields = Field(
        default_factory=dict,
        description="With `records`: fields of the record around the element.",
        examples=[{"order_id": "$.id"}],
    )

    @model_validator(mode="after")
    def _one_form(self) -> SyncRelation:
        given = [n for n in ("table", "sql", "resource") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                "`from` needs exactly one of table, sql and resource: write a table's name, "
                "{table: T, schema: S}, {sql: file.sql} or {resource: R}"
            )
        if self.table is None and self.schema_name is not None:
            raise ValueError("only a table has a `schema`: remove it")
        if self.resource is None and (self.records or self.parent):
            raise ValueError("`records` and `parent` are for a resource: remove them")
        if self.parent and self.records is None:
            raise ValueError("`parent` goes with `records`: put these fields under `fields`")
        return self


class SyncEntity(Entity):
    """One target table, or one kind of record of an API, fed from one source."""

    source: SyncRelation = Field(
        alias="from",
        description="Table, view, SQL file or resource that is read.",
        examples=[{"resource": "orders"}],
    )
    fields_: Fields = Field(
        default_factory=dict,
        alias="fields",
        description="Of a resource: the name by which columns read it, and where it stands in a record. "
        "A name that is not listed is the record's member of that name.",
        examples=[{"id": "$.id", "city": "$.address.city"}],
    )
    watermark: Watermark | None = Field(
        default=None,
        description="When a row changed: bounds what is read from a database, and keeps an older "
        "version from overwriting a newer one.",
        examples=[{"column": "updated_at"}],
    )
    vanished: Literal["keep", "delete"] | Mark = Field(
        default="keep",
        description="Rows that an earlier run brought and that the source does not have any more where "
        "this run looked: `keep`, `delete`, or `{mark: column}`.",
        examples=["delete"],
    )
    max_vanished: Limit | None = Field(
        default=None,
        description="Vanished rows that one run may delete or mark: rows, or a share of those it looked "
        "at. Default: any number, but never all of what is read whole.",
        examples=[0.1],
    )
    deliver: Delivery | None = Field(
        default=None,
        description="Of an API as the target: how changes are sent.",
        examples=[{"create": {"method": "POST", "path": "/contacts"}}],
    )


class Sync(Pipeline):
    """One mapping file: what is kept alike, from where, to where, and when."""

    name: Name = Field(
        alias="sync",
        description="Name of the sync and of everything made for it.",
        examples=["shop_orders"],
    )
    source: SyncSource = Field(
        description="The database or API that is read.", examples=[{"api": "shop_api"}]
    )
    target: SyncTarget = Field(
        description="The database or API that is filled.",
        examples=[{"conn": "commerce", "schema": "commerce"}],
    )
    home: Home | None = Field(
        default=None,
        description="The database with the ledger, where the target is an API; default: the source.",
        examples=[{"conn": "commerce"}],
    )
    schedule: Schedule = Field(
        default_factory=Schedule,
        description="When it runs; default: when a person says so.",
        examples=[{"cron": "0 2 * * *", "start": "2026-01-01"}],
    )
    keep_raw_days: Annotated[StrictInt, Field(ge=0)] = Field(
        default=7,
        description="Days for which an API's answers are kept, to be transformed again without asking.",
        examples=[7],
    )
    resources: dict[Name, Resource] = Field(
        default_factory=dict,
        description="Collections of the API that is read, by name.",
        examples=[{"orders": {"path": "/orders", "records": "$.data[*]"}}],
    )
    entities: Annotated[dict[Name, SyncEntity], Field(min_length=1)] = Field(
        description="Entity's name to what it reads and fills.",
        examples=[{"orders": {"from": {"resource": "orders"}, "columns": {"id": {"key": "copy"}}}}],
    )

    @property
    def strategy(self) -> Literal["trickle", "big_bang"]:
        """Syncs write into the live tables."""
        return "trickle"

    @property
    def cohort(self) -> Cohort | None:
        """A sync selects by time, not by cohorts."""
        return None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The one phase under which the ledger keeps all batches."""
        return (_PHASE,)

    @property
    def reconcile(self) -> tuple[BusinessCheck, ...]:
        """None; each batch is validated by itself."""
        return ()

    @property
    def reads_api(self) -> bool:
        """Whether the source is an API."""
        return self.source.api is not None

    @property
    def delivers(self) -> bool:
        """Whether the target is an API."""
        return self.target.api is not None

    @property
    def home_conn(self) -> str:
        """Connection id of the database with the ledger."""
        if self.home is not None:
            return self.home.conn
        return self.target.conn or self.source.conn

    def scope_of(self, entity: str) -> Scope:
        """What one run reads of the entity: a window of time, what is new since the last, or everything."""
        read = self.entities[entity]
        if read.source.resource is None:
            return read.watermark.by if read.watermark else "full"
        incremental = self.root_resource(read.source.resource).incremental
        if isinstance(incremental, Window):
            return "window"
        return "since" if isinstance(incremental, Since | Bookmark) else "full"

    def root_resource(self, name: str) -> Resource:
        """The resource that bounds the reading: the outermost parent of the one named."""
        return self.resources[self.resource_chain(name)[0]]

    def resource_chain(self, name: str) -> tuple[str, ...]:
        """The resource with all its parents, the outermost first."""
        chain = [name]
        while (each := self.resources[chain[0]].each) is not None and isinstance(each.of, str):
            if each.of in chain or each.of not in self.resources:
                break
            chain.insert(0, each.of)
        return tuple(chain)

    def overlap_of(self, resource: str) -> float:
        """Seconds that are read again before a window of a resource, or before where the last run ended."""
        marks = (
            entity.watermark
            for entity in self.entities.values()
            if entity.source.resource is not None
            and self.resource_chain(entity.source.resource)[0] == resource
        )
        return max((float(mark.overlap) for mark in marks if mark is not None), default=0.0)

    def resource_fingerprint(self, resource: str) -> str:
        """sha256 of all that decides which records a reading brings."""
        chain = self.resource_chain(resource)
        said = [self.resources[name].model_dump(mode="json") for name in chain]
        overlap = self.overlap_of(chain[0])
        return sha256_of([self.source.api, said, overlap])

    @property
    def backfills(self) -> bool:
        """Whether any window of time can be read again: nothing is read since the last run."""
        return all(self.scope_of(name) != "since" for name in self.entities)

    def _rows_of(self, name: str, whole: bool) -> dict[str, Any]:
        found = super()._rows_of(name, whole)
        resource = self.entities[name].source.resource
        chain = self.resource_chain(resource) if resource else ()
        found["resources"] = [self.resources[n].model_dump(mode="json") for n in chain]
        found["ends"] += [self.source.api, self.target.api]
        return found


_PHASE = Phase(name=SYNC_PHASE)
