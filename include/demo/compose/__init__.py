"""What docker-compose.yaml runs beside Airflow itself."""
