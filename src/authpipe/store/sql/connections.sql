-- name: insert
INSERT INTO connections (
    environment_id, tenant_id, connection_id, user_id, provider_config_id, provider, installation_id, status,
    status_reason, label, is_primary, account_id, account_name, scopes, metadata, created_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16)
ON CONFLICT DO NOTHING;

-- name: get
SELECT * FROM connections WHERE environment_id = $1 AND tenant_id = $2 AND connection_id = $3;

-- name: find
SELECT * FROM connections WHERE environment_id = $1 AND connection_id = $2;

-- name: for_slot
SELECT * FROM connections
WHERE environment_id = $1 AND tenant_id = $2 AND provider_config_id = $3
  AND coalesce(user_id, '') = coalesce($4, '') AND coalesce(label, '') = coalesce($5, '')
  AND status <> 'revoked'
FOR UPDATE;

-- name: lock
SELECT * FROM connections WHERE environment_id = $1 AND tenant_id = $2 AND connection_id = $3 FOR UPDATE;

-- name: page
SELECT * FROM connections
WHERE environment_id = $1
  AND ($2::text IS NULL OR tenant_id = $2) AND ($3::text IS NULL OR user_id = $3)
  AND ($4::text IS NULL OR provider = $4) AND ($5::text IS NULL OR status = $5)
  AND ($6::uuid IS NULL OR installation_id = $6)
  AND ($7::uuid IS NULL OR connection_id > $7)
ORDER BY connection_id LIMIT $8;

-- name: update
UPDATE connections SET
    installation_id = $4, status = $5, status_reason = $6, label = $7, is_primary = $8, account_id = $9,
    account_name = $10, scopes = $11, metadata = $12, updated_at = $13, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND connection_id = $3
RETURNING *;

-- name: set_status
UPDATE connections SET status = $4, status_reason = $5, updated_at = $6, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND connection_id = $3
  AND (status <> $4 OR status_reason IS DISTINCT FROM $5) AND status <> 'revoked'
RETURNING *;

-- name: clear_primary
UPDATE connections SET is_primary = false, updated_at = $6, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND provider = $3 AND coalesce(user_id, '') = coalesce($4, '')
  AND connection_id <> $5 AND is_primary
RETURNING *;

-- name: shares_account
SELECT EXISTS (
    SELECT FROM connections
    WHERE environment_id = $1 AND provider_config_id = $2 AND connection_id IS DISTINCT FROM $4
      AND status = 'active' AND (account_id = $3 OR account_id IS NULL OR $3 IS NULL)
) OR EXISTS (
    SELECT FROM candidates
    WHERE environment_id = $1 AND provider_config_id = $2 AND candidate_id IS DISTINCT FROM $5
      AND lease IS NULL AND expires_at > $6 AND (account ->> 'id' = $3 OR $3 IS NULL)
);

-- name: under_installation
UPDATE connections SET status = 'needs_reauth', status_reason = $4, updated_at = $5, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND installation_id = $3 AND status = 'active'
RETURNING *;

-- name: adopt
UPDATE connections SET installation_id = $4, updated_at = $5, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND provider_config_id = $3 AND installation_id IS NULL
  AND status <> 'revoked'
RETURNING *;
