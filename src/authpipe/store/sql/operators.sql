-- name: insert
INSERT INTO operators (
    operator_id, email, name, role, known_browser_key, oidc_issuer, oidc_subject, created_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
ON CONFLICT DO NOTHING;

-- name: get
SELECT *, password_hash IS NOT NULL AS has_password FROM operators WHERE operator_id = $1;

-- name: get_locked
SELECT *, password_hash IS NOT NULL AS has_password FROM operators WHERE operator_id = $1 FOR UPDATE;

-- name: by_email
SELECT *, password_hash IS NOT NULL AS has_password FROM operators WHERE lower(email) = $1;

-- name: by_email_locked
SELECT *, password_hash IS NOT NULL AS has_password FROM operators WHERE lower(email) = $1 FOR UPDATE;

-- name: by_subject
SELECT *, password_hash IS NOT NULL AS has_password FROM operators
WHERE oidc_issuer = $1 AND oidc_subject = $2;

-- name: by_invitation
SELECT *, password_hash IS NOT NULL AS has_password FROM operators
WHERE invitation_hash = $1 AND invitation_expires_at > $2 AND disabled_at IS NULL;

-- name: all
SELECT *, password_hash IS NOT NULL AS has_password FROM operators ORDER BY created_at, operator_id;

-- name: enabled_owners
SELECT operator_id FROM operators
WHERE role = 'owner' AND disabled_at IS NULL AND (password_hash IS NOT NULL OR oidc_subject IS NOT NULL)
ORDER BY operator_id FOR UPDATE;

-- name: update
UPDATE operators SET role = $2, name = $3, updated_at = $4 WHERE operator_id = $1;

-- name: set_password
UPDATE operators SET
    password_hash = $2, known_browser_key = $3, updated_at = $4,
    invitation_hash = NULL, invitation_expires_at = NULL,
    failed_sign_ins = 0, last_failed_at = NULL, locked_until = NULL
WHERE operator_id = $1;

-- name: rehash
UPDATE operators SET password_hash = $3 WHERE operator_id = $1 AND password_hash = $2;

-- name: disable
UPDATE operators SET disabled_at = $2, updated_at = $2, invitation_hash = NULL, invitation_expires_at = NULL
WHERE operator_id = $1 AND disabled_at IS NULL;

-- name: enable
UPDATE operators SET disabled_at = NULL, updated_at = $2 WHERE operator_id = $1 AND disabled_at IS NOT NULL;

-- name: invite
UPDATE operators SET invitation_hash = $2, invitation_expires_at = $3 WHERE operator_id = $1;

-- name: bind
UPDATE operators SET oidc_issuer = $2, oidc_subject = $3, updated_at = $4
WHERE operator_id = $1 AND oidc_subject IS NULL;

-- name: failing
UPDATE operators SET failed_sign_ins = $2, last_failed_at = $3, locked_until = $4 WHERE operator_id = $1;

-- name: not_failed
UPDATE operators SET
    failed_sign_ins = greatest(failed_sign_ins - 1, 0),
    locked_until = CASE WHEN locked_until = $2 THEN NULL ELSE locked_until END
WHERE operator_id = $1;

-- name: signed_in
UPDATE operators SET failed_sign_ins = 0, last_failed_at = NULL, locked_until = NULL, last_sign_in_at = $2
WHERE operator_id = $1;
