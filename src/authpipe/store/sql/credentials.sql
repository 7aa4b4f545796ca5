-- name: put
INSERT INTO credentials (
    environment_id, tenant_id, credential_id, owner_kind, owner_id, provider_config_id, provider, kind, source,
    secret_ciphertext, refresh_ciphertext, facts, scopes, expires_at, refresh_due_at, refresh_expires_at,
    issued_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17);

-- name: destroy_owned
DELETE FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND owner_id = $3
RETURNING *;

-- name: destroy_kind
DELETE FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND owner_id = $3 AND kind = $4;

-- name: owned
SELECT * FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND owner_id = $3 ORDER BY kind;

-- name: get
SELECT * FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3;

-- name: read
SELECT * FROM authpipe_read_credential($1, $2, $3, $4, $5, $6, $7, $8);

-- name: claim_due
-- Materialized: run again for each row of a nested loop, the subquery would lock new rows beyond its limit.
WITH due AS MATERIALIZED (
    SELECT environment_id, tenant_id, credential_id FROM credentials
    WHERE refresh_due_at <= $1 AND (lease IS NULL OR lease_until <= $1)
      AND provider_config_id <> ALL ($4::uuid[])
      -- A value and no join, so that the order can come from the index of due times.
      AND coalesce((SELECT t.erasing_at IS NULL FROM tenants t WHERE t.environment_id = credentials.environment_id
                      AND t.tenant_id = credentials.tenant_id), true)
    ORDER BY refresh_due_at LIMIT $3
    FOR UPDATE SKIP LOCKED
)
UPDATE credentials c SET
    lease = gen_random_uuid(), lease_until = $2, updated_at = $1,
    outcome_unknown = c.outcome_unknown OR c.lease IS NOT NULL
FROM due
WHERE c.environment_id = due.environment_id AND c.tenant_id = due.tenant_id
  AND c.credential_id = due.credential_id
RETURNING c.*;

-- name: claim_one
UPDATE credentials SET
    lease = gen_random_uuid(), lease_until = $5, updated_at = $4,
    outcome_unknown = outcome_unknown OR lease IS NOT NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3
  AND (lease IS NULL OR lease_until <= $4)
  AND ($6::bigint IS NULL OR (version = $6 AND refresh_due_at IS NOT DISTINCT FROM $7))
RETURNING *;

-- name: defer
UPDATE credentials SET refresh_due_at = $6, lease = NULL, lease_until = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4 AND lease = $5
RETURNING *;

-- name: release
UPDATE credentials SET lease = NULL, lease_until = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND lease = $4;

-- name: commit_refresh
UPDATE credentials SET
    previous_secret_ciphertext = secret_ciphertext, previous_refresh_ciphertext = refresh_ciphertext,
    previous_until = $5, secret_ciphertext = $6, refresh_ciphertext = coalesce($7, refresh_ciphertext),
    scopes = $8, expires_at = $9, refresh_due_at = $10, refresh_expires_at = coalesce($11, refresh_expires_at),
    issued_at = $12, updated_at = $12, version = version + 1, lease = NULL, lease_until = NULL,
    outcome_unknown = false, refresh_failures = 0, last_error = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4
RETURNING *;

-- name: postpone
UPDATE credentials SET
    refresh_due_at = $6, refresh_failures = refresh_failures + 1, last_error = $7, updated_at = $8,
    outcome_unknown = outcome_unknown OR $9, lease = NULL, lease_until = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4 AND lease = $5
RETURNING *;

-- name: condemn
UPDATE credentials SET
    refresh_due_at = NULL, last_error = $6, updated_at = $7, lease = NULL, lease_until = NULL,
    refresh_failures = refresh_failures + 1
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4 AND lease = $5
RETURNING *;

-- name: purge_previous
WITH past AS MATERIALIZED (
    SELECT environment_id, tenant_id, credential_id FROM credentials
    WHERE previous_until <= $1 ORDER BY previous_until LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE credentials c SET
    previous_secret_ciphertext = NULL, previous_refresh_ciphertext = NULL, previous_until = NULL
FROM past
WHERE c.environment_id = past.environment_id AND c.tenant_id = past.tenant_id
  AND c.credential_id = past.credential_id;

-- name: due_count
SELECT count(*) FROM (
    SELECT FROM credentials WHERE refresh_due_at <= $1 AND (lease IS NULL OR lease_until <= $1) LIMIT 10000
) due;

-- name: announce
SELECT pg_notify('authpipe_credentials', $1);
