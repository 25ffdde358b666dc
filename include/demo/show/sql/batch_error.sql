-- What stopped a batch. Parameters: id. Result: entity, phase, state, error or NULL.
SELECT entity, phase, state, error FROM sinew.batch WHERE id = %(id)s
