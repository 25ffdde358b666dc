-- How far a sync has come: the latest end of its windows that are complete.
-- Parameter: mapping. Result: upper, NULL when there is none.
SELECT max(upper) FROM sinew."window" WHERE mapping = %(mapping)s AND state = 'complete' AND lower IS NOT NULL;
