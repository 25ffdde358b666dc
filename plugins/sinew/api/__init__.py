"""Read records from HTTP APIs and send rows to them, over a given session."""
