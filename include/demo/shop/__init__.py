"""The demo's shop: an API to read from and write to, and the authorization server that guards it."""
