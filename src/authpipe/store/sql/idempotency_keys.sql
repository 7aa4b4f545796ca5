-- name: begin
INSERT INTO idempotency_keys (environment_id, api_key_id, idempotency_key, request_hash, row_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;

-- name: get
SELECT * FROM idempotency_keys WHERE environment_id = $1 AND api_key_id = $2 AND idempotency_key = $3;

-- name: finish
UPDATE idempotency_keys SET response_status = $5, response_ciphertext = $6, tenant_id = $7
WHERE environment_id = $1 AND api_key_id = $2 AND idempotency_key = $3 AND row_id = $4;

-- name: forget
DELETE FROM idempotency_keys
WHERE environment_id = $1 AND api_key_id = $2 AND idempotency_key = $3 AND row_id = $4
  AND response_status IS NULL;

-- name: purge
DELETE FROM idempotency_keys WHERE created_at <= $1;

-- name: purge_unfinished
DELETE FROM idempotency_keys
WHERE environment_id = $1 AND api_key_id = $2 AND idempotency_key = $3 AND response_status IS NULL
  AND created_at <= $4;
