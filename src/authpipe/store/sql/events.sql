-- name: insert
INSERT INTO events (
    environment_id, tenant_id, event_id, type, object_kind, object_id, actor_kind, actor_id, request_id,
    source_address, outcome, data, created_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: insert_all
INSERT INTO events (
    environment_id, tenant_id, event_id, type, object_kind, object_id, actor_kind, actor_id, request_id,
    source_address, outcome, data, created_at
)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::jsonb[], $13::timestamptz[]
)
ON CONFLICT (environment_id, event_id) DO NOTHING;

-- name: page
SELECT * FROM events
WHERE environment_id = $1
  AND ($2::text IS NULL OR tenant_id = $2) AND ($3::text IS NULL OR type = $3)
  AND ($4::text IS NULL OR object_id = $4) AND ($5::uuid IS NULL OR event_id < $5)
ORDER BY event_id DESC LIMIT $6;

-- name: get
SELECT * FROM events WHERE environment_id = $1 AND event_id = $2;

-- name: changes
SELECT authpipe_change(events) AS change FROM events
WHERE environment_id = $1 AND event_id > $2 AND authpipe_is_change(type)
  AND ($3::text IS NULL OR tenant_id = $3 OR tenant_id IS NULL)
ORDER BY event_id LIMIT $4;
