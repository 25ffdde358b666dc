-- Statements that give the new table of this name what CREATE TABLE … (LIKE … INCLUDING ALL) does not copy.
-- Read before the swap, run after it. Parameters: schema, relation. Result: statement, in the order to run.
WITH live AS (
    SELECT c.oid, c.relname, n.nspname, c.relowner, c.relacl
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(relation)s
)
SELECT text FROM (
    SELECT 1 AS n, o.conname AS name, pg_catalog.format(
        'ALTER TABLE %%I.%%I ADD CONSTRAINT %%I %%s', live.nspname, live.relname, o.conname, pg_get_constraintdef(o.oid)
    ) AS text
    FROM live
    JOIN pg_constraint AS o ON o.conrelid = live.oid AND o.contype = 'f'
    UNION ALL
    SELECT 2, t.tgname, pg_get_triggerdef(t.oid)
    FROM live
    JOIN pg_trigger AS t ON t.tgrelid = live.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT 3, a.grantee::text || a.privilege_type, pg_catalog.format(
        'GRANT %%s ON %%I.%%I TO %%s%%s', a.privilege_type, live.nspname, live.relname,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )
    FROM live
    CROSS JOIN LATERAL aclexplode(live.relacl) AS a
    WHERE a.grantee <> live.relowner
    UNION ALL
    SELECT 4, p.pubname, pg_catalog.format('ALTER PUBLICATION %%I ADD TABLE %%I.%%I', p.pubname, live.nspname, live.relname)
    FROM live
    JOIN pg_publication_rel AS r ON r.prrelid = live.oid
    JOIN pg_publication AS p ON p.oid = r.prpubid
) AS carried
ORDER BY n, name;
