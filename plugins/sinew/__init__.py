"""Sinew: data migrations as gated batches, run by Airflow."""

__version__ = "0.1.0"
