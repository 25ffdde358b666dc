"""What a mapping file says: frozen models, the reader, the JSON Schema."""

from sinew.spec.columns import (
    Column,
    ColumnBase,
    ExprColumn,
    FromColumn,
    KeyColumn,
    PythonColumn,
    RefColumn,
    ValueColumn,
)
from sinew.spec.models import Migration
from sinew.spec.parts import (
    BatchSize,
    BusinessCheck,
    Cohort,
    Entity,
    Phase,
    Query,
    RejectedAmounts,
    Relation,
    Source,
    Target,
)
from sinew.spec.reader import parse_mapping, read_all, read_mapping
from sinew.spec.steps import TRANSFORMS, Step

__all__ = [
    "TRANSFORMS",
    "BatchSize",
    "BusinessCheck",
    "Cohort",
    "Column",
    "ColumnBase",
    "Entity",
    "ExprColumn",
    "FromColumn",
    "KeyColumn",
    "Migration",
    "Phase",
    "PythonColumn",
    "Query",
    "RefColumn",
    "RejectedAmounts",
    "Relation",
    "Source",
    "Step",
    "Target",
    "ValueColumn",
    "parse_mapping",
    "read_all",
    "read_mapping",
]
