"""Airflow operators: thin shells around the engine."""
