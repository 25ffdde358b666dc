-- The reading of a resource for a window: the one that was begun, or a new one.
-- Parameters: mapping, window, resource, fingerprint. Result: id.
INSERT INTO sinew.fetch AS f (mapping, window_id, resource, fingerprint)
VALUES (%(mapping)s, %(window)s, %(resource)s, %(fingerprint)s)
ON CONFLICT (window_id, resource) DO UPDATE SET fingerprint = f.fingerprint
RETURNING f.id;
