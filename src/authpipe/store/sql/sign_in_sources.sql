-- name: count
INSERT INTO sign_in_sources (source, tries, ends_at) VALUES ($1, 1, $3)
ON CONFLICT (source) DO UPDATE SET
    tries = CASE WHEN sign_in_sources.ends_at <= $2 THEN 1 ELSE sign_in_sources.tries + 1 END,
    ends_at = CASE WHEN sign_in_sources.ends_at <= $2 THEN $3 ELSE sign_in_sources.ends_at END
RETURNING tries;

-- name: give_back
UPDATE sign_in_sources SET tries = tries - 1 WHERE source = $1 AND tries > 0;

-- name: purge
DELETE FROM sign_in_sources WHERE ends_at <= $1;
