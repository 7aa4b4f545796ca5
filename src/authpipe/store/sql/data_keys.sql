-- name: all
SELECT * FROM data_keys WHERE environment_id = $1 AND tenant_id = $2 ORDER BY created_at, key_id;

-- name: demote
UPDATE data_keys SET is_primary = false, retired_at = $4, examine_at = $4
WHERE environment_id = $1 AND tenant_id = $2 AND key_id = $3 AND is_primary;

-- name: insert_primary
INSERT INTO data_keys (
    environment_id, tenant_id, key_id, kek_id, wrapped, is_primary, encryptions, created_at
) VALUES ($1, $2, $3, $4, $5, true, $6, $7)
ON CONFLICT DO NOTHING;

-- name: count_encryptions
UPDATE data_keys SET encryptions = encryptions + $4
WHERE environment_id = $1 AND tenant_id = $2 AND key_id = $3
RETURNING encryptions;

-- name: hold
-- Waits for whoever destroys a key, keeps it until the end of the transaction, and for a time after that.
UPDATE data_keys SET unused_since = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND key_id = ANY ($3::uuid[])
RETURNING key_id;

-- name: destroy_all
DELETE FROM data_keys WHERE environment_id = $1 AND tenant_id = $2;

-- name: announce
-- Delivered when the transaction commits: whoever holds the keyset in memory drops it.
SELECT pg_notify('authpipe_keysets', $1::uuid::text || '/' || $2::text);
