"""Pure functions from a mapping and the facts of two databases to SQL and contracts."""
