"""What every test may use."""

from __future__ import annotations

pytest_plugins = ["tests.fix_airflow", "tests.fix_postgres", "tests.fix_shop", "tests.fix_pair"]
