"""The demo's shop: an API to read from, a marketing API to write to, and the server that gives their tokens."""
