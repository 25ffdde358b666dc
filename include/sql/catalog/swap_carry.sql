-- Statements that give the new table of this name what CREATE TABLE … (LIKE … INCLUDING ALL) does not copy.
-- Read before the swap, run after it. Parameters: schema, relation. Result: statement, in the order to run.
WITH live AS (
    SELECT c.oid, c.relname, n.nspname, c.relowner, c.relacl, c.reloptions, c.relreplident, c.relrowsecurity, c.relforcerowsecurity
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
    SELECT 3, a.grantee::text || a.privilege_type || t.attname, pg_catalog.format(
        'GRANT %%s (%%I) ON %%I.%%I TO %%s%%s', a.privilege_type, t.attname, live.nspname, live.relname,
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )
    FROM live
    JOIN pg_attribute AS t ON t.attrelid = live.oid AND t.attnum > 0 AND NOT t.attisdropped
    CROSS JOIN LATERAL aclexplode(t.attacl) AS a
    UNION ALL
    -- With its columns and its filter: without them a publication would send what it must not.
    SELECT 4, p.pubname, pg_catalog.format(
        'ALTER PUBLICATION %%I ADD TABLE ONLY %%I.%%I%%s%%s', p.pubname, live.nspname, live.relname,
        ' (' || (SELECT string_agg(quote_ident(t.attname), ', ' ORDER BY t.attnum) FROM pg_attribute AS t
                 WHERE t.attrelid = live.oid AND t.attnum = ANY(r.prattrs::int2[])) || ')',
        ' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')'
    )
    FROM live
    JOIN pg_publication_rel AS r ON r.prrelid = live.oid
    JOIN pg_publication AS p ON p.oid = r.prpubid
    UNION ALL
    SELECT 4, p.pubname || ' old', pg_catalog.format('ALTER PUBLICATION %%I DROP TABLE ONLY sinew_old.%%I', p.pubname, live.relname)
    FROM live
    JOIN pg_publication_rel AS r ON r.prrelid = live.oid
    JOIN pg_publication AS p ON p.oid = r.prpubid
    UNION ALL
    SELECT 5, t.tgname, pg_catalog.format(
        'ALTER TABLE %%I.%%I %%s TRIGGER %%I', live.nspname, live.relname,
        CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname
    )
    FROM live
    JOIN pg_trigger AS t ON t.tgrelid = live.oid AND NOT t.tgisinternal AND t.tgenabled <> 'O'
    UNION ALL
    SELECT 6, '', pg_catalog.format(
        'ALTER TABLE %%I.%%I REPLICA IDENTITY %%s', live.nspname, live.relname,
        CASE live.relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END
    )
    FROM live WHERE live.relreplident IN ('f', 'n')
    UNION ALL
    SELECT 6, o.option_name, pg_catalog.format(
        'ALTER TABLE %%I.%%I SET (%%s = %%L)', live.nspname, live.relname, o.option_name, o.option_value
    )
    FROM live
    CROSS JOIN LATERAL pg_options_to_table(live.reloptions) AS o
    UNION ALL
    SELECT 6, 'comment', pg_catalog.format(
        'COMMENT ON TABLE %%I.%%I IS %%L', live.nspname, live.relname, obj_description(live.oid, 'pg_class')
    )
    FROM live WHERE obj_description(live.oid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 6, 'row security', pg_catalog.format(
        'ALTER TABLE %%I.%%I ENABLE ROW LEVEL SECURITY%%s', live.nspname, live.relname,
        CASE WHEN live.relforcerowsecurity THEN ', FORCE ROW LEVEL SECURITY' ELSE '' END
    )
    FROM live WHERE live.relrowsecurity
    UNION ALL
    -- Last: who is no owner may do none of the above.
    SELECT 7, 'owner', pg_catalog.format(
        'ALTER TABLE %%I.%%I OWNER TO %%I', live.nspname, live.relname, pg_get_userbyid(live.relowner)
    )
    FROM live WHERE pg_get_userbyid(live.relowner) <> current_user
) AS carried
ORDER BY n, name;
