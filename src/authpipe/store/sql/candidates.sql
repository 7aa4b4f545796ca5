-- name: insert
INSERT INTO candidates (
    environment_id, tenant_id, candidate_id, session_id, provider_config_id, grant_ciphertext, account,
    created_at, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: of_session
SELECT * FROM candidates WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3;

-- name: waits_for
SELECT EXISTS (
    SELECT FROM candidates
    WHERE environment_id = $1 AND provider_config_id = $2 AND account ->> 'id' = $3
      AND candidate_id IS DISTINCT FROM $4 AND lease IS NULL AND expires_at > $5
);

-- name: take
DELETE FROM candidates WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3
  AND (lease IS NULL OR lease_until <= $4)
RETURNING *;

-- name: claim_expired
-- Materialized: run again for each row of a nested loop, the subquery would lock new rows beyond its limit.
WITH due AS MATERIALIZED (
    SELECT environment_id, tenant_id, candidate_id FROM candidates
    WHERE expires_at <= $1 AND (lease IS NULL OR lease_until <= $1)
    ORDER BY expires_at LIMIT $3
    FOR UPDATE SKIP LOCKED
)
UPDATE candidates c SET lease = gen_random_uuid(), lease_until = $2
FROM due
WHERE c.environment_id = due.environment_id AND c.tenant_id = due.tenant_id
  AND c.candidate_id = due.candidate_id
RETURNING c.*;

-- name: claim_of_session
UPDATE candidates SET lease = gen_random_uuid(), lease_until = $5, expires_at = $4
WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3 AND (lease IS NULL OR lease_until <= $4)
RETURNING *;

-- name: destroy
DELETE FROM candidates WHERE environment_id = $1 AND tenant_id = $2 AND candidate_id = $3;
