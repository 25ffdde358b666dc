"""The command line: everything that can be done without Airflow."""

from sinew.cli.entry import main

__all__ = ["main"]
