"""Airflow dags of all migrations: ``migrate__<name>`` for each of include/mappings/migrations."""

from airflow.sdk import get_parsing_context

from sinew.dagbuild import build_migrations

# A worker asks for the dag of its task alone; the dag processor asks for all.
globals().update(build_migrations(only=get_parsing_context().dag_id))
