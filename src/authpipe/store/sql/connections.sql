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
    SELECT FROM connections c
    WHERE c.environment_id = $1 AND c.provider_config_id = $2 AND c.connection_id IS DISTINCT FROM $4
      AND c.status = 'active' AND (c.account_id = $3 OR c.account_id IS NULL OR $3 IS NULL)
      AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = c.environment_id
                        AND t.tenant_id = c.tenant_id AND t.erasing_at IS NOT NULL)
) OR EXISTS (
    SELECT FROM candidates c
    WHERE c.environment_id = $1 AND c.provider_config_id = $2 AND c.candidate_id IS DISTINCT FROM $5
      AND c.lease IS NULL AND c.expires_at > $6 AND (c.account ->> 'id' = $3 OR $3 IS NULL)
      AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = c.environment_id
                        AND t.tenant_id = c.tenant_id AND t.erasing_at IS NOT NULL)
);

-- name: shares_account_elsewhere
SELECT EXISTS (
    SELECT FROM provider_configs p
    JOIN connections c ON c.environment_id = p.environment_id AND c.provider_config_id = p.provider_config_id
    WHERE p.provider = $1 AND p.client_id = $2 AND p.base_url IS NOT DISTINCT FROM $3 AND p.environment_id <> $4
      AND c.status = 'active' AND (c.account_id = $5 OR c.account_id IS NULL OR $5 IS NULL)
      AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = c.environment_id
                        AND t.tenant_id = c.tenant_id AND t.erasing_at IS NOT NULL)
) OR EXISTS (
    SELECT FROM provider_configs p
    JOIN candidates c ON c.environment_id = p.environment_id AND c.provider_config_id = p.provider_config_id
    WHERE p.provider = $1 AND p.client_id = $2 AND p.base_url IS NOT DISTINCT FROM $3 AND p.environment_id <> $4
      AND c.lease IS NULL AND c.expires_at > $6 AND (c.account ->> 'id' = $5 OR $5 IS NULL)
      AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = c.environment_id
                        AND t.tenant_id = c.tenant_id AND t.erasing_at IS NOT NULL)
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
