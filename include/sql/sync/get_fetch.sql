-- One reading, with the window that it is for.
-- Parameter: id. Result: the columns of sinew.engine.fetch.Fetch, in their order.
SELECT f.id, f.state, f.cursor, f.records, w.lower, w.upper
FROM sinew.fetch AS f JOIN sinew."window" AS w ON w.id = f.window_id
WHERE f.id = %(id)s;
