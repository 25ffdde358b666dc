-- Whether a batch that was read later is loaded already. Parameter: id. Result: boolean.
SELECT EXISTS (
    SELECT FROM sinew.batch AS mine
    JOIN sinew.batch AS other ON other.mapping = mine.mapping AND other.entity = mine.entity
    WHERE mine.id = %(id)s AND other.state IN ('loaded', 'validated') AND other.read_at > mine.read_at);
