-- name: all
SELECT * FROM data_keys WHERE environment_id = $1 AND tenant_id = $2 ORDER BY created_at, key_id;

-- name: demote
UPDATE data_keys SET is_primary = false, retired_at = $4
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
