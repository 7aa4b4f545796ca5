-- name: ensure
INSERT INTO tenants (environment_id, tenant_id, created_at) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING;

-- name: put
INSERT INTO tenants (environment_id, tenant_id, name, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (environment_id, tenant_id) DO UPDATE SET name = excluded.name WHERE tenants.erasing_at IS NULL
RETURNING *;

-- name: keep
SELECT erasing_at FROM tenants WHERE environment_id = $1 AND tenant_id = $2 FOR KEY SHARE;

-- name: lock
SELECT * FROM tenants WHERE environment_id = $1 AND tenant_id = $2 FOR UPDATE;

-- name: get
SELECT * FROM tenants WHERE environment_id = $1 AND tenant_id = $2;

-- name: page
SELECT * FROM tenants WHERE environment_id = $1 AND tenant_id > $2 ORDER BY tenant_id LIMIT $3;
