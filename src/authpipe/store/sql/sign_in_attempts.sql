-- name: insert
INSERT INTO sign_in_attempts (
    attempt_id, state_hash, browser_hash, nonce_hash, verifier_ciphertext, created_at, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: take
DELETE FROM sign_in_attempts WHERE state_hash = $1 AND browser_hash = $2 AND expires_at > $3 RETURNING *;

-- name: purge
DELETE FROM sign_in_attempts WHERE expires_at <= $1;
