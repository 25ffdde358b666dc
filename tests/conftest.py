"""What every test may use."""

from __future__ import annotations

pytest_plugins = [
    "tests.fix_airflow",
    "tests.fix_auth",
    "tests.fix_pair",
    "tests.fix_postgres",
    "tests.fix_shop",
    "tests.fix_shop_api",
    "tests.fix_shop_servers",
    "tests.fix_sync",
    "tests.fix_deliver",  # after fix_sync, which it imports
]
