-- name: insert
INSERT INTO api_keys (
    environment_id, api_key_id, name, prefix, key_hash, role, tenant_id, created_at, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: all
SELECT * FROM api_keys WHERE environment_id = $1 ORDER BY api_key_id;

-- name: get
SELECT * FROM api_keys WHERE environment_id = $1 AND api_key_id = $2;

-- name: lock
SELECT * FROM api_keys WHERE environment_id = $1 AND api_key_id = $2 FOR UPDATE;

-- name: by_hash
SELECT * FROM api_keys WHERE key_hash = $1;

-- name: revoke
UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3)
WHERE environment_id = $1 AND api_key_id = $2
RETURNING *;

-- name: replace
UPDATE api_keys SET replaced_by = $3, expires_at = $4 WHERE environment_id = $1 AND api_key_id = $2;

-- name: announce
SELECT pg_notify('authpipe_api_keys', $1);

-- name: touch
UPDATE api_keys SET last_used_at = $3
WHERE environment_id = $1 AND api_key_id = $2 AND (last_used_at IS NULL OR last_used_at < $4);
