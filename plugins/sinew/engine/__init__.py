"""One file a verb; takes open connections and values, returns frozen results."""
