"""What the demo shows: the run while it goes on, and what came of it."""
