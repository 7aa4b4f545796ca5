-- name: insert
INSERT INTO provider_configs (
    environment_id, provider_config_id, provider, enabled, client_id, client_secret_ciphertext,
    app_credential_ciphertext, scopes, installation_scopes, base_url, attachment, parameters,
    created_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)
ON CONFLICT (environment_id, provider) DO NOTHING;

-- name: get
SELECT * FROM provider_configs WHERE environment_id = $1 AND provider_config_id = $2;

-- name: by_provider
SELECT * FROM provider_configs WHERE environment_id = $1 AND provider = $2;

-- name: all
SELECT * FROM provider_configs WHERE environment_id = $1 ORDER BY provider;

-- name: find
SELECT * FROM provider_configs WHERE provider_config_id = $1;

-- name: update
UPDATE provider_configs SET
    enabled = $3, client_id = $4, client_secret_ciphertext = $5, app_credential_ciphertext = $6, scopes = $7,
    installation_scopes = $8, base_url = $9, attachment = $10, parameters = $11, updated_at = $12,
    problem = $14, version = version + 1
WHERE environment_id = $1 AND provider_config_id = $2 AND version = $13
RETURNING *;

-- name: set_problem
UPDATE provider_configs SET problem = $3, updated_at = $4, version = version + 1
WHERE environment_id = $1 AND provider_config_id = $2 AND problem IS DISTINCT FROM $3;

-- name: in_use
SELECT EXISTS (SELECT FROM connections WHERE environment_id = $1 AND provider_config_id = $2)
    OR EXISTS (SELECT FROM installations WHERE environment_id = $1 AND provider_config_id = $2)
    OR EXISTS (SELECT FROM connect_sessions WHERE environment_id = $1 AND provider_config_id = $2
                 AND status IN ('pending', 'opened', 'authorizing', 'candidate'));

-- name: drop_sessions
DELETE FROM connect_sessions WHERE environment_id = $1 AND provider_config_id = $2;

-- name: delete
DELETE FROM provider_configs WHERE environment_id = $1 AND provider_config_id = $2;

-- name: announce
SELECT pg_notify('authpipe_provider_configs', $1);
