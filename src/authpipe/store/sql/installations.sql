-- name: claim
INSERT INTO installation_claims (environment_id, provider_config_id, external_id, tenant_id, installation_id)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (environment_id, provider_config_id, external_id)
    DO UPDATE SET external_id = excluded.external_id
RETURNING tenant_id, installation_id;

-- name: lock_claim
SELECT tenant_id FROM installation_claims
WHERE environment_id = $1 AND provider_config_id = $2 AND external_id = $3
FOR UPDATE;

-- name: claimed_by
SELECT tenant_id, installation_id FROM installation_claims
WHERE environment_id = $1 AND provider_config_id = $2 AND external_id = $3;

-- name: claimed_elsewhere
SELECT EXISTS (
    SELECT FROM provider_configs p
    JOIN installation_claims c
      ON c.environment_id = p.environment_id AND c.provider_config_id = p.provider_config_id
    WHERE p.provider = $1 AND p.client_id = $2 AND p.base_url IS NOT DISTINCT FROM $3 AND p.environment_id <> $4
      AND c.external_id = $5
      AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = c.environment_id
                        AND t.tenant_id = c.tenant_id AND t.erasing_at IS NOT NULL)
);

-- name: release
DELETE FROM installation_claims
WHERE environment_id = $1 AND provider_config_id = $2 AND external_id = $3 AND installation_id = $4;

-- name: insert
INSERT INTO installations (
    environment_id, tenant_id, installation_id, provider_config_id, provider, external_id, external_name,
    status, status_reason, label, is_primary, installed_by, scopes, metadata, created_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15);

-- name: get
SELECT * FROM installations WHERE environment_id = $1 AND tenant_id = $2 AND installation_id = $3;

-- name: lock
SELECT * FROM installations WHERE environment_id = $1 AND tenant_id = $2 AND installation_id = $3 FOR UPDATE;

-- name: find
SELECT * FROM installations WHERE environment_id = $1 AND installation_id = $2;

-- name: live
SELECT * FROM installations
WHERE environment_id = $1 AND tenant_id = $2 AND provider_config_id = $3 AND status <> 'deleted'
ORDER BY is_primary DESC, installation_id;

-- name: page
SELECT * FROM installations
WHERE environment_id = $1
  AND ($2::text IS NULL OR tenant_id = $2) AND ($3::text IS NULL OR provider = $3)
  AND ($4::text IS NULL OR status = $4) AND ($5::uuid IS NULL OR installation_id > $5)
ORDER BY installation_id LIMIT $6;

-- name: update
UPDATE installations SET
    external_name = $4, status = $5, status_reason = $6, label = $7, is_primary = $8, installed_by = $9,
    scopes = $10, metadata = $11, updated_at = $12, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND installation_id = $3
RETURNING *;

-- name: set_status
UPDATE installations SET status = $4, status_reason = $5, updated_at = $6, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND installation_id = $3
  AND (status <> $4 OR status_reason IS DISTINCT FROM $5) AND status <> 'deleted'
RETURNING *;

-- name: clear_primary
UPDATE installations SET is_primary = false, updated_at = $5, version = version + 1
WHERE environment_id = $1 AND tenant_id = $2 AND provider = $3 AND installation_id <> $4 AND is_primary
RETURNING *;
