-- name: insert
INSERT INTO connect_sessions (
    environment_id, tenant_id, session_id, user_id, kind, provider_config_id, provider, status, scopes, label,
    installation_id, reconnect_id, return_mode, return_url, token_hash, expires_at, created_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9, $10, $11, $12, $13, $14, $15, $16, $16);

-- name: find
SELECT * FROM connect_sessions WHERE environment_id = $1 AND session_id = $2;

-- name: lock
SELECT * FROM connect_sessions WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3 FOR UPDATE;

-- name: by_token
SELECT * FROM connect_sessions WHERE token_hash = $1;

-- name: open
UPDATE connect_sessions SET status = 'opened', browser_hash = $2, updated_at = $3
WHERE token_hash = $1 AND status = 'pending' AND expires_at > $3
RETURNING *;

-- name: by_id
SELECT * FROM connect_sessions WHERE session_id = $1;

-- name: authorizing
UPDATE connect_sessions SET status = 'authorizing', updated_at = $4
WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3 AND status IN ('opened', 'authorizing')
  AND expires_at > $4
RETURNING *;

-- name: count_key_attempt
UPDATE connect_sessions SET key_attempts = key_attempts + 1, updated_at = $4
WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3
RETURNING key_attempts;

-- name: candidate
UPDATE connect_sessions SET status = 'candidate', completion_hash = $4, expires_at = $5, updated_at = $6
WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3 AND status IN ('opened', 'authorizing')
RETURNING *;

-- name: matches_completion
SELECT completion_hash = $4 FROM connect_sessions
WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3;

-- name: completed
UPDATE connect_sessions SET
    status = 'completed', connection_id = $4, made_installation_id = $5, completion_hash = NULL, updated_at = $6
WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3 AND status = 'candidate'
RETURNING *;

-- name: ended
UPDATE connect_sessions SET status = $4, error_code = $5, completion_hash = NULL, updated_at = $6
WHERE environment_id = $1 AND tenant_id = $2 AND session_id = $3
  AND status IN ('pending', 'opened', 'authorizing', 'candidate')
RETURNING *;

-- name: any_open
SELECT EXISTS (
    SELECT FROM connect_sessions WHERE environment_id = $1 AND provider_config_id = $2
      AND status IN ('pending', 'opened', 'authorizing', 'candidate')
);

-- name: overdue
SELECT * FROM connect_sessions
WHERE expires_at <= $1 AND status IN ('pending', 'opened', 'authorizing', 'candidate')
ORDER BY expires_at LIMIT $2
FOR UPDATE SKIP LOCKED;
