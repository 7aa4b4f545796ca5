-- Every column of an event is read as text, in the order of events/chain_hash.py: what is hashed does not
-- depend on how a client reads numbers or times.  The data are jsonb's own text, which is one for each value.

-- name: waiting
-- A loose index scan: its cost follows the number of environments, not that of events.
WITH RECURSIVE found AS (
    (SELECT environment_id FROM unchained_events ORDER BY environment_id LIMIT 1)
    UNION ALL
    SELECT (SELECT u.environment_id FROM unchained_events u WHERE u.environment_id > found.environment_id
            ORDER BY u.environment_id LIMIT 1)
    FROM found WHERE found.environment_id IS NOT NULL
)
SELECT found.environment_id, h.position, h.hash, h.seal, h.complete_at, oldest.created_at AS oldest_at
FROM found LEFT JOIN audit_heads h USING (environment_id)
LEFT JOIN LATERAL (
    -- Within what clients can read as a time.
    SELECT least(greatest(e.created_at, '0001-01-02Z'), '9999-12-30Z') AS created_at
    FROM unchained_events u LEFT JOIN events e USING (environment_id, event_id)
    WHERE u.environment_id = found.environment_id ORDER BY u.event_id LIMIT 1
) oldest ON true
WHERE found.environment_id IS NOT NULL;

-- name: head
SELECT position, hash, seal, complete_at FROM audit_heads WHERE environment_id = $1;

-- name: headed
SELECT environment_id FROM audit_heads ORDER BY environment_id;

-- name: begin
INSERT INTO audit_heads (environment_id, position, hash, seal, complete_at)
SELECT $1, 0, $2, $3, $4 WHERE NOT EXISTS (SELECT FROM audit_chain WHERE environment_id = $1)
ON CONFLICT (environment_id) DO NOTHING;

-- name: lock_head
SELECT position, hash, seal, complete_at FROM audit_heads WHERE environment_id = $1 FOR UPDATE SKIP LOCKED;

-- name: take
WITH chosen AS (
    SELECT u.event_id FROM unchained_events u LEFT JOIN events e USING (environment_id, event_id)
    WHERE u.environment_id = $1 AND ($3::timestamptz IS NULL OR e.created_at IS NULL OR e.created_at >= $3)
    ORDER BY u.event_id LIMIT $2
), taken AS (
    DELETE FROM unchained_events u USING chosen
    WHERE u.environment_id = $1 AND u.event_id = chosen.event_id RETURNING u.event_id
)
SELECT taken.event_id AS taken_id, c.position AS linked_at,
       e.environment_id::text, e.event_id::text, e.tenant_id, e.type, e.object_kind, e.object_id,
       e.actor_kind, e.actor_id, e.request_id, e.source_address, e.outcome, e.data::text,
       CASE WHEN e.created_at BETWEEN '0001-01-01Z' AND '9999-12-31 23:59:59.999999Z'
            THEN to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            ELSE e.created_at::text END AS created_at
FROM taken
LEFT JOIN events e ON e.environment_id = $1 AND e.event_id = taken.event_id
LEFT JOIN audit_chain c ON c.environment_id = $1 AND c.event_id = taken.event_id
ORDER BY taken.event_id;

-- name: link
INSERT INTO audit_chain (environment_id, position, event_id, hash)
SELECT $1, * FROM unnest($2::bigint[], $3::uuid[], $4::bytea[]);

-- name: move_head
UPDATE audit_heads SET position = $2, hash = $3, seal = $4, complete_at = $5 WHERE environment_id = $1;

-- name: ends
-- One statement, so that head and last link belong together whoever is linking meanwhile.
SELECT h.position, h.hash, h.seal, h.complete_at,
       (SELECT max(c.position) FROM audit_chain c WHERE c.environment_id = $1) AS last_link
FROM (VALUES ($1::uuid)) AS asked (environment_id) LEFT JOIN audit_heads h USING (environment_id);

-- name: links
SELECT c.position, c.event_id AS link_event_id, c.hash,
       e.environment_id::text, e.event_id::text, e.tenant_id, e.type, e.object_kind, e.object_id,
       e.actor_kind, e.actor_id, e.request_id, e.source_address, e.outcome, e.data::text,
       CASE WHEN e.created_at BETWEEN '0001-01-01Z' AND '9999-12-31 23:59:59.999999Z'
            THEN to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            ELSE e.created_at::text END AS created_at
FROM audit_chain c LEFT JOIN events e ON e.environment_id = c.environment_id AND e.event_id = c.event_id
WHERE c.environment_id = $1 AND c.position > $2 AND c.position <= $3 ORDER BY c.position LIMIT $4;

-- name: hash_at
SELECT hash FROM audit_chain WHERE environment_id = $1 AND position = $2;

-- name: unlinked
-- A page of events: how many of it wait to be linked, the first that neither waits nor is linked, and the first
-- that waits and is of before $4.
WITH page AS (
    SELECT event_id, created_at FROM events
    WHERE environment_id = $1 AND ($2::uuid IS NULL OR event_id > $2) ORDER BY event_id LIMIT $3
)
SELECT count(*) AS seen, (array_agg(p.event_id ORDER BY p.event_id DESC))[1] AS last_id,
       count(u.event_id) AS waiting,
       (array_agg(p.event_id ORDER BY p.event_id)
            FILTER (WHERE c.event_id IS NULL AND u.event_id IS NULL))[1] AS forgotten_id,
       (array_agg(p.created_at::text ORDER BY p.event_id)
            FILTER (WHERE c.event_id IS NULL AND u.event_id IS NULL))[1] AS forgotten_at,
       (array_agg(p.event_id ORDER BY p.event_id)
            FILTER (WHERE u.event_id IS NOT NULL AND p.created_at < $4::timestamptz))[1] AS late_id,
       (array_agg(p.created_at::text ORDER BY p.event_id)
            FILTER (WHERE u.event_id IS NOT NULL AND p.created_at < $4::timestamptz))[1] AS late_at
FROM page p
LEFT JOIN audit_chain c ON c.environment_id = $1 AND c.event_id = p.event_id
LEFT JOIN unchained_events u ON u.environment_id = $1 AND u.event_id = p.event_id;

-- name: first_since
SELECT c.position FROM audit_chain c JOIN events e USING (environment_id, event_id)
WHERE c.environment_id = $1 AND e.created_at >= $2 ORDER BY c.position LIMIT 1;

-- name: last_until
SELECT c.position FROM audit_chain c JOIN events e USING (environment_id, event_id)
WHERE c.environment_id = $1 AND e.created_at <= $2 ORDER BY c.position DESC LIMIT 1;
