"""What a mapping file says: frozen models, the reader, the JSON Schema."""
