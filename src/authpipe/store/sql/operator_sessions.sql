-- name: insert
INSERT INTO operator_sessions (
    session_id, session_hash, operator_id, method, source_address, user_agent, created_at, last_seen_at,
    expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: current
SELECT s.* FROM operator_sessions s JOIN operators o USING (operator_id)
WHERE s.session_hash = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND o.disabled_at IS NULL;

-- name: touch
UPDATE operator_sessions SET last_seen_at = $2, source_address = $4
WHERE session_id = $1 AND last_seen_at <= $3;

-- name: of_operator
SELECT * FROM operator_sessions WHERE operator_id = $1 AND expires_at > $2 AND last_seen_at > $3
ORDER BY last_seen_at DESC, session_id;

-- name: end
DELETE FROM operator_sessions WHERE operator_id = $1 AND session_id = $2;

-- name: end_shown
DELETE FROM operator_sessions WHERE session_hash = $1;

-- name: end_all_but
DELETE FROM operator_sessions WHERE operator_id = $1 AND session_id IS DISTINCT FROM $2;

-- name: purge
DELETE FROM operator_sessions WHERE expires_at <= $1 OR last_seen_at <= $2;
