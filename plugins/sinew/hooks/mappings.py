"""Mappings of the project's include folder, found by the migration's name."""

from __future__ import annotations

from pathlib import Path

from sinew.errors import ConfigurationError
from sinew.paths import include_folder
from sinew.spec import Migration, read_all, read_mapping


def migrations_folder() -> Path:
    """Where the mappings of migrations are."""
    return include_folder() / "mappings" / "migrations"


def read_migrations() -> dict[str, Migration]:
    """All migrations, by name in order. Raises one SpecError for the problems of all files."""
    folder = migrations_folder()
    return dict(sorted(read_all(folder, include_folder()).items())) if folder.is_dir() else {}


def read_migration(name: str) -> Migration:
    """One migration. Another's broken file does not matter if this one's file bears its name."""
    file = migrations_folder() / f"{name}.yaml"
    if file.is_file():
        found = read_mapping(file, include_folder())
        if found.name == name:
            return found
    migrations = read_migrations()
    if name not in migrations:
        raise ConfigurationError(
            f"there is no migration {name!r} under {migrations_folder()}; there are: "
            f"{', '.join(migrations) or 'none'}: choose one of them, or put its mapping back"
        )
    return migrations[name]
