-- name: mark
UPDATE tenants SET erasing_at = $3 WHERE environment_id = $1 AND tenant_id = $2 AND erasing_at IS NULL;

-- name: begin
INSERT INTO erasures (
    environment_id, tenant_id, actor_kind, actor_id, request_id, source_address, step, created_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: claim
UPDATE erasures SET lease = gen_random_uuid(), lease_until = $4
WHERE environment_id = $1 AND tenant_id = $2 AND (lease IS NULL OR lease_until <= $3)
RETURNING *;

-- name: claim_any
WITH left_half_way AS MATERIALIZED (
    -- A time without a lease: workers leave it alone until then.
    SELECT environment_id, tenant_id FROM erasures
    WHERE lease_until IS NULL OR lease_until <= $1
    ORDER BY created_at LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE erasures e SET lease = gen_random_uuid(), lease_until = $2
FROM left_half_way l
WHERE e.environment_id = l.environment_id AND e.tenant_id = l.tenant_id
RETURNING e.*;

-- name: advance
UPDATE erasures SET step = $4, after = $5, counts = $6, lease_until = $7
WHERE environment_id = $1 AND tenant_id = $2 AND lease = $3;

-- name: release
UPDATE erasures SET lease = NULL, lease_until = $4
WHERE environment_id = $1 AND tenant_id = $2 AND lease = $3;

-- name: end
DELETE FROM erasures WHERE environment_id = $1 AND tenant_id = $2 AND lease = $3;

-- name: drop_tenant
DELETE FROM tenants WHERE environment_id = $1 AND tenant_id = $2;

-- name: candidate_sessions
SELECT s.* FROM connect_sessions s
JOIN candidates c
  ON c.environment_id = s.environment_id AND c.tenant_id = s.tenant_id AND c.session_id = s.session_id
WHERE s.environment_id = $1 AND s.tenant_id = $2 AND ($3::uuid IS NULL OR s.session_id > $3)
ORDER BY s.session_id LIMIT $4;

-- name: live_connections
SELECT * FROM connections
WHERE environment_id = $1 AND tenant_id = $2 AND ($3::uuid IS NULL OR connection_id > $3) AND status <> 'revoked'
ORDER BY connection_id LIMIT $4;

-- name: live_installations
SELECT * FROM installations
WHERE environment_id = $1 AND tenant_id = $2 AND ($3::uuid IS NULL OR installation_id > $3)
  AND status <> 'deleted'
ORDER BY installation_id LIMIT $4;

-- name: count_candidate_sessions
SELECT count(*) FROM candidates
WHERE environment_id = $1 AND tenant_id = $2 AND ($3::uuid IS NULL OR session_id > $3);

-- name: count_live_connections
SELECT count(*) FROM connections
WHERE environment_id = $1 AND tenant_id = $2 AND ($3::uuid IS NULL OR connection_id > $3) AND status <> 'revoked';

-- name: count_live_installations
SELECT count(*) FROM installations
WHERE environment_id = $1 AND tenant_id = $2 AND ($3::uuid IS NULL OR installation_id > $3)
  AND status <> 'deleted';

-- name: delete_api_keys
WITH gone AS (
    DELETE FROM api_keys WHERE environment_id = $1 AND tenant_id = $2
    RETURNING api_key_id, name, prefix, revoked_at
)
SELECT gone.*, pg_notify('authpipe_api_keys', api_key_id::text) FROM gone;

-- name: delete_credentials
-- As all that follow: rows that somebody works on are left for a later batch, since whoever waits for nothing is
-- in nobody's circle of waiting.
WITH batch AS MATERIALIZED (
    SELECT credential_id FROM credentials WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM credentials c USING batch
    WHERE c.environment_id = $1 AND c.tenant_id = $2 AND c.credential_id = batch.credential_id
    RETURNING c.credential_id
)
SELECT pg_notify('authpipe_credentials', credential_id::text) FROM gone;

-- name: delete_candidates
WITH batch AS MATERIALIZED (
    SELECT candidate_id FROM candidates WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM candidates c USING batch
WHERE c.environment_id = $1 AND c.tenant_id = $2 AND c.candidate_id = batch.candidate_id;

-- name: delete_authorization_attempts
WITH batch AS MATERIALIZED (
    SELECT attempt_id FROM authorization_attempts WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM authorization_attempts a USING batch
WHERE a.environment_id = $1 AND a.tenant_id = $2 AND a.attempt_id = batch.attempt_id;

-- name: delete_connect_sessions
WITH batch AS MATERIALIZED (
    SELECT session_id FROM connect_sessions WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM connect_sessions s USING batch
WHERE s.environment_id = $1 AND s.tenant_id = $2 AND s.session_id = batch.session_id;

-- name: delete_connections
WITH batch AS MATERIALIZED (
    SELECT connection_id FROM connections WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM connections c USING batch
WHERE c.environment_id = $1 AND c.tenant_id = $2 AND c.connection_id = batch.connection_id;

-- name: delete_installation_claims
WITH batch AS MATERIALIZED (
    SELECT provider_config_id, external_id FROM installation_claims
    WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM installation_claims c USING batch
WHERE c.environment_id = $1 AND c.tenant_id = $2 AND c.provider_config_id = batch.provider_config_id
  AND c.external_id = batch.external_id;

-- name: delete_installations
WITH batch AS MATERIALIZED (
    SELECT installation_id FROM installations WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM installations i USING batch
WHERE i.environment_id = $1 AND i.tenant_id = $2 AND i.installation_id = batch.installation_id;

-- name: delete_idempotency_keys
WITH batch AS MATERIALIZED (
    SELECT api_key_id, idempotency_key FROM idempotency_keys WHERE environment_id = $1 AND tenant_id = $2
    LIMIT $3 FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys k USING batch
WHERE k.environment_id = $1 AND k.tenant_id = $2 AND k.api_key_id = batch.api_key_id
  AND k.idempotency_key = batch.idempotency_key;

-- name: is_anything_left
SELECT EXISTS (SELECT FROM credentials WHERE environment_id = $1 AND tenant_id = $2)
    OR EXISTS (SELECT FROM candidates WHERE environment_id = $1 AND tenant_id = $2)
    OR EXISTS (SELECT FROM authorization_attempts WHERE environment_id = $1 AND tenant_id = $2)
    OR EXISTS (SELECT FROM connect_sessions WHERE environment_id = $1 AND tenant_id = $2)
    OR EXISTS (SELECT FROM connections WHERE environment_id = $1 AND tenant_id = $2)
    OR EXISTS (SELECT FROM installation_claims WHERE environment_id = $1 AND tenant_id = $2)
    OR EXISTS (SELECT FROM installations WHERE environment_id = $1 AND tenant_id = $2)
    OR EXISTS (SELECT FROM idempotency_keys WHERE environment_id = $1 AND tenant_id = $2);
