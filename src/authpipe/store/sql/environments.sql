-- name: insert
INSERT INTO environments (environment_id, name, kind, return_urls, origins, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO NOTHING;

-- name: get
SELECT * FROM environments WHERE environment_id = $1;

-- name: by_name
SELECT * FROM environments WHERE name = $1;

-- name: all
SELECT * FROM environments ORDER BY created_at, environment_id;

-- name: update
UPDATE environments SET return_urls = $2, origins = $3 WHERE environment_id = $1 RETURNING *;
