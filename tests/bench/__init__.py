"""Speed, as ratios to a limit or a peer in the same run: ``python -m tests.bench``."""
