"""The local stack: PostgreSQL and Airflow on this machine alone."""
