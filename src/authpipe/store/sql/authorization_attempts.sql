-- name: insert
INSERT INTO authorization_attempts (
    environment_id, tenant_id, attempt_id, session_id, provider_config_id, state_hash, browser_hash,
    verifier_ciphertext, redirect_uri, scopes, created_at, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: take
DELETE FROM authorization_attempts
WHERE state_hash = $1 AND provider_config_id = $2 AND browser_hash = ANY ($3::bytea[]) AND expires_at > $4
RETURNING *;

-- name: peek
SELECT * FROM authorization_attempts WHERE state_hash = $1;

-- name: browser_hash
SELECT browser_hash FROM authorization_attempts WHERE state_hash = $1;

-- name: drop_of_session
DELETE FROM authorization_attempts WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3;

-- name: purge
DELETE FROM authorization_attempts WHERE expires_at <= $1;
