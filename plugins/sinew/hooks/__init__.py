"""Airflow connections, turned into what the engine takes."""
