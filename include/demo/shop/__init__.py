"""A shop with an API, a marketing tool that is written to, and the server that gives their tokens."""
