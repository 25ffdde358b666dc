"""Airflow dags of all syncs: ``sync__<name>`` for each of include/mappings/syncs."""

from airflow.sdk import get_parsing_context

from sinew.syncbuild import build_syncs

# A worker asks for the dag of its task alone; the dag processor asks for all.
globals().update(build_syncs(only=get_parsing_context().dag_id))
