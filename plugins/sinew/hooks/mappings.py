"""Mappings of the project's include folder, found by the pipeline's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from sinew.errors import ConfigurationError, SpecError
from sinew.paths import include_folder
from sinew.spec import Migration, read_all, read_mapping
from sinew.spec.pipeline import Pipeline
from sinew.spec.reader import read_folder, same_names
from sinew.spec.sync import Sync

P = TypeVar("P", bound=Pipeline)


def migrations_folder() -> Path:
    """Where the mappings of migrations are."""
    return include_folder() / "mappings" / "migrations"


def syncs_folder() -> Path:
    """Where the mappings of syncs are."""
    return include_folder() / "mappings" / "syncs"


def read_migrations() -> dict[str, Migration]:
    """All migrations, by name in order. Raises one SpecError for the problems of all files."""
    return _all_of(migrations_folder(), Migration)


def read_syncs() -> dict[str, Sync]:
    """All syncs, by name in order. Raises one SpecError for the problems of all files.

    One of them is a name that a migration bears: both would share a ledger.
    """
    syncs = _all_of(syncs_folder(), Sync)
    if migrations_folder().is_dir():
        # What else is wrong with a migration is not told here, where it does no harm.
        migrations, _ = read_folder(migrations_folder(), include_folder())
        if problems := same_names([*migrations, *syncs.values()]):
            raise SpecError(problems)
    return syncs


def _all_of(folder: Path, kind: type[P]) -> dict[str, P]:
    return dict(sorted(read_all(folder, include_folder(), kind).items())) if folder.is_dir() else {}


def read_migration(name: str) -> Migration:
    """One migration. Another's broken file does not matter if this one's file bears its name."""
    found = _by_file(migrations_folder(), name, Migration)
    return found or _chosen(name, read_migrations(), f"migration {name!r} under", "migrations")


def read_sync(name: str) -> Sync:
    """One sync. Another's broken file does not matter if this one's file bears its name."""
    found = _by_file(syncs_folder(), name, Sync)
    return found or _chosen(name, read_syncs(), f"sync {name!r} under", "syncs")


def read_pipeline(name: str) -> Pipeline:
    """The migration or the sync of that name."""
    found: Pipeline | None = _by_file(migrations_folder(), name, Migration)
    found = found or _by_file(syncs_folder(), name, Sync)
    if found:
        return found
    both: dict[str, Pipeline] = {**read_migrations(), **read_syncs()}
    return _chosen(name, both, f"mapping {name!r} under", "")


def _by_file(folder: Path, name: str, kind: type[P]) -> P | None:
    file = folder / f"{name}.yaml"
    if not file.is_file():
        return None
    found = read_mapping(file, include_folder(), kind)
    return found if found.name == name else None


def _chosen(name: str, found: Mapping[str, P], what: str, folder: str) -> P:
    if name not in found:
        raise ConfigurationError(
            f"there is no {what} {include_folder() / 'mappings' / folder}; there are: "
            f"{', '.join(found) or 'none'}: choose one of them, or put its mapping back"
        )
    return found[name]
