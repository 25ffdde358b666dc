-- Keep the manifest; what it was computed from goes.
-- Parameters: fingerprint, body. Result: none.
INSERT INTO demo_manifest.build (fingerprint, body) VALUES (%(fingerprint)s, %(body)s);
