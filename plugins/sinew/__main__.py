"""``python -m sinew``: the command line."""

from sinew.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
