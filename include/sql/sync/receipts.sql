-- What an API said to the rows that it was sent, the newest word for each row.
-- Parameter: mapping. Result: entity, status, rows.
SELECT entity, status, count(*)
FROM (
    SELECT DISTINCT ON (entity, source_key) entity, status
    FROM sinew.receipt
    WHERE mapping = %(mapping)s
    ORDER BY entity, source_key, id DESC
) AS newest
GROUP BY entity, status
ORDER BY entity, status;
