-- The address of a whole household with a smaller number, written in other letters.
-- Parameters: after, count (which picks to spoil), picked (customers spoilt in all).
-- Result: the source key of each spoilt row.
UPDATE "CUST_MASTER" t SET "EMAIL_ADDR" = ' ' || upper(trim(winner.email)) || ' '
FROM demo_manifest.pick p,
LATERAL (
    SELECT w."EMAIL_ADDR" AS email
    FROM "CUST_MASTER" w
    WHERE w."HSHD_NO" < (p.key->>'HSHD_NO')::integer AND w."EMAIL_ADDR" LIKE '%%@%%'
      AND NOT EXISTS (
          SELECT FROM demo_manifest.pick spoilt
          WHERE spoilt.entity = 'customers' AND spoilt.n <= %(picked)s
            AND (spoilt.key->>'HSHD_NO')::integer = w."HSHD_NO"
      )
    ORDER BY w."HSHD_NO" DESC LIMIT 1
) winner
WHERE p.entity = 'customers' AND p.n > %(after)s AND p.n <= %(after)s + %(count)s
  AND t."HSHD_NO" = (p.key->>'HSHD_NO')::integer
RETURNING p.key;
