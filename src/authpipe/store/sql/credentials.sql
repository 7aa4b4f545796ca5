-- name: put
INSERT INTO credentials (
    environment_id, tenant_id, credential_id, owner_kind, owner_id, provider_config_id, provider, kind, source,
    secret_ciphertext, refresh_ciphertext, facts, scopes, expires_at, refresh_due_at, refresh_expires_at,
    issued_at, updated_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17);

-- name: destroy_owned
DELETE FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND owner_id = $3
RETURNING *;

-- name: destroy_kind
DELETE FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND owner_id = $3 AND kind = $4;

-- name: owned
SELECT * FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND owner_id = $3 ORDER BY kind;

-- name: get
SELECT * FROM credentials WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3;

-- name: claim_due
-- Each provider config has a queue for each lane: see the column refresh_lane.  The heads of the queues decide
-- how much is taken from which: configs in turn, within one what expires first.  Only then are rows locked,
-- from the low end of each queue and past what another worker has.  A config without room costs a look or two
-- at the index, however much of it is due.
WITH RECURSIVE queues AS (
    (SELECT provider_config_id, refresh_lane FROM credentials WHERE refresh_due_at IS NOT NULL
     ORDER BY provider_config_id, refresh_lane LIMIT 1)
    UNION ALL
    SELECT next.* FROM queues q CROSS JOIN LATERAL (
        SELECT c.provider_config_id, c.refresh_lane FROM credentials c
        WHERE c.refresh_due_at IS NOT NULL
          AND (c.provider_config_id, c.refresh_lane) > (q.provider_config_id, q.refresh_lane)
        ORDER BY c.provider_config_id, c.refresh_lane LIMIT 1
    ) next
), heads AS (
    SELECT q.provider_config_id, q.refresh_lane, head.expires_at, least($3, coalesce(r.room, $4)) AS room,
           row_number() OVER (PARTITION BY q.provider_config_id ORDER BY head.expires_at) AS turn
    FROM queues q
    LEFT JOIN unnest($5::uuid[], $6::integer[]) AS r (provider_config_id, room) USING (provider_config_id)
    CROSS JOIN LATERAL (
        SELECT c.expires_at FROM credentials c
        WHERE c.provider_config_id = q.provider_config_id AND c.refresh_lane = q.refresh_lane
          AND c.refresh_due_at <= $1 AND (c.lease IS NULL OR c.lease_until <= $1)
          AND (SELECT true FROM tenants t WHERE t.environment_id = c.environment_id
                 AND t.tenant_id = c.tenant_id AND t.erasing_at IS NOT NULL) IS NULL
        ORDER BY c.refresh_due_at LIMIT least($3, coalesce(r.room, $4))
    ) head
    WHERE coalesce(r.room, $4) > 0
), shares AS MATERIALIZED (
    SELECT provider_config_id, refresh_lane, count(*) AS share FROM (
        SELECT provider_config_id, refresh_lane FROM heads WHERE turn <= room
        ORDER BY turn, expires_at LIMIT $3
    ) chosen GROUP BY provider_config_id, refresh_lane
), due AS MATERIALIZED (
    -- Materialized: run again for each row of a nested loop, the subquery would lock new rows beyond its limit.
    SELECT free.* FROM shares s CROSS JOIN LATERAL (
        SELECT c.environment_id, c.tenant_id, c.credential_id FROM credentials c
        WHERE c.provider_config_id = s.provider_config_id AND c.refresh_lane = s.refresh_lane
          AND c.refresh_due_at <= $1 AND (c.lease IS NULL OR c.lease_until <= $1)
          AND (SELECT true FROM tenants t WHERE t.environment_id = c.environment_id
                 AND t.tenant_id = c.tenant_id AND t.erasing_at IS NOT NULL) IS NULL
        ORDER BY c.refresh_due_at LIMIT s.share
        FOR NO KEY UPDATE SKIP LOCKED
    ) free
)
UPDATE credentials c SET
    lease = gen_random_uuid(), lease_until = $2, updated_at = $1,
    outcome_unknown = c.outcome_unknown OR c.lease IS NOT NULL
FROM due
WHERE c.environment_id = due.environment_id AND c.tenant_id = due.tenant_id
  AND c.credential_id = due.credential_id
-- Facts and previous secrets stay where they are.
RETURNING c.environment_id, c.tenant_id, c.credential_id, c.owner_kind, c.owner_id, c.provider_config_id,
    c.provider, c.kind, c.source, c.secret_ciphertext, c.refresh_ciphertext, c.scopes, c.expires_at,
    c.refresh_due_at, c.refresh_expires_at, c.version, c.lease, c.lease_until, c.outcome_unknown,
    c.refresh_failures, c.issued_at, c.updated_at;

-- name: claim_one
UPDATE credentials SET
    lease = gen_random_uuid(), lease_until = $5, updated_at = $4,
    outcome_unknown = outcome_unknown OR lease IS NOT NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3
  AND (lease IS NULL OR lease_until <= $4)
  AND ($6::bigint IS NULL OR (version = $6 AND refresh_due_at IS NOT DISTINCT FROM $7))
RETURNING *;

-- name: defer
UPDATE credentials SET refresh_due_at = $6, lease = NULL, lease_until = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4 AND lease = $5
RETURNING *;

-- name: release
UPDATE credentials SET lease = NULL, lease_until = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND lease = $4;

-- name: commit_refresh
UPDATE credentials SET
    previous_secret_ciphertext = secret_ciphertext, previous_refresh_ciphertext = refresh_ciphertext,
    previous_until = $5, secret_ciphertext = $6, refresh_ciphertext = coalesce($7, refresh_ciphertext),
    scopes = $8, expires_at = $9, refresh_due_at = $10, refresh_expires_at = coalesce($11, refresh_expires_at),
    issued_at = $12, updated_at = $12, version = version + 1, lease = NULL, lease_until = NULL,
    outcome_unknown = false, refresh_failures = 0, last_error = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4
RETURNING *;

-- name: commit_refreshes
-- As commit_refresh, for rows of any tenant.  A row that somebody holds, or whose version is another, is left out.
WITH free AS MATERIALIZED (
    SELECT n.* FROM unnest(
        $1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::timestamptz[], $6::bytea[], $7::bytea[],
        $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[]
    ) WITH ORDINALITY AS n (
        environment_id, tenant_id, credential_id, version, previous_until, secret, refresh,
        scopes, expires_at, refresh_due_at, refresh_expires_at, issued_at, number
    )
    JOIN credentials c ON c.environment_id = n.environment_id AND c.tenant_id = n.tenant_id
     AND c.credential_id = n.credential_id AND c.version = n.version
    FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE credentials c SET
    previous_secret_ciphertext = c.secret_ciphertext, previous_refresh_ciphertext = c.refresh_ciphertext,
    previous_until = n.previous_until, secret_ciphertext = n.secret,
    refresh_ciphertext = coalesce(n.refresh, c.refresh_ciphertext), scopes = n.scopes::text[],
    expires_at = n.expires_at, refresh_due_at = n.refresh_due_at,
    refresh_expires_at = coalesce(n.refresh_expires_at, c.refresh_expires_at),
    issued_at = n.issued_at, updated_at = n.issued_at, version = c.version + 1, lease = NULL,
    lease_until = NULL, outcome_unknown = false, refresh_failures = 0, last_error = NULL
FROM free n
WHERE c.environment_id = n.environment_id AND c.tenant_id = n.tenant_id AND c.credential_id = n.credential_id
RETURNING n.number, pg_notify('authpipe_credentials', c.credential_id::text);

-- name: owners_of
SELECT n.number, o.user_id, coalesce(o.status, i.status) AS status,
       coalesce(o.status_reason, i.status_reason) AS status_reason
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) WITH ORDINALITY AS n (
    environment_id, tenant_id, owner_kind, owner_id, number
)
LEFT JOIN connections o ON n.owner_kind = 'connection' AND o.environment_id = n.environment_id
      AND o.tenant_id = n.tenant_id AND o.connection_id = n.owner_id
LEFT JOIN installations i ON n.owner_kind = 'installation' AND i.environment_id = n.environment_id
      AND i.tenant_id = n.tenant_id AND i.installation_id = n.owner_id
ORDER BY n.number;

-- name: postpone
UPDATE credentials SET
    refresh_due_at = $6, refresh_failures = refresh_failures + 1, last_error = $7, updated_at = $8,
    outcome_unknown = outcome_unknown OR $9, lease = NULL, lease_until = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4 AND lease = $5
RETURNING *;

-- name: postpone_all
WITH free AS MATERIALIZED (
    SELECT n.* FROM unnest(
        $1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::uuid[], $6::timestamptz[], $7::text[],
        $8::timestamptz[], $9::boolean[], $10::boolean[]
    ) WITH ORDINALITY AS n (
        environment_id, tenant_id, credential_id, version, lease, until, error, at, outcome_unknown, asked, number
    )
    JOIN credentials c ON c.environment_id = n.environment_id AND c.tenant_id = n.tenant_id
     AND c.credential_id = n.credential_id AND c.version = n.version AND c.lease = n.lease
    FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE credentials c SET
    refresh_due_at = n.until, lease = NULL, lease_until = NULL,
    refresh_failures = c.refresh_failures + n.asked::integer,
    last_error = CASE WHEN n.asked THEN n.error ELSE c.last_error END,
    updated_at = CASE WHEN n.asked THEN n.at ELSE c.updated_at END,
    outcome_unknown = c.outcome_unknown OR n.outcome_unknown
FROM free n
WHERE c.environment_id = n.environment_id AND c.tenant_id = n.tenant_id AND c.credential_id = n.credential_id
RETURNING n.number, c.refresh_failures, pg_notify('authpipe_credentials', c.credential_id::text);

-- name: condemn
UPDATE credentials SET
    refresh_due_at = NULL, last_error = $6, updated_at = $7, lease = NULL, lease_until = NULL,
    refresh_failures = refresh_failures + 1
WHERE environment_id = $1 AND tenant_id = $2 AND credential_id = $3 AND version = $4 AND lease = $5
RETURNING *;

-- name: purge_previous
WITH past AS MATERIALIZED (
    SELECT environment_id, tenant_id, credential_id FROM credentials
    WHERE previous_until <= $1 ORDER BY previous_until LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE credentials c SET
    previous_secret_ciphertext = NULL, previous_refresh_ciphertext = NULL, previous_until = NULL
FROM past
WHERE c.environment_id = past.environment_id AND c.tenant_id = past.tenant_id
  AND c.credential_id = past.credential_id;

-- name: due_count
WITH RECURSIVE queues AS (
    (SELECT provider_config_id, refresh_lane FROM credentials WHERE refresh_due_at IS NOT NULL
     ORDER BY provider_config_id, refresh_lane LIMIT 1)
    UNION ALL
    SELECT next.* FROM queues q CROSS JOIN LATERAL (
        SELECT c.provider_config_id, c.refresh_lane FROM credentials c
        WHERE c.refresh_due_at IS NOT NULL
          AND (c.provider_config_id, c.refresh_lane) > (q.provider_config_id, q.refresh_lane)
        ORDER BY c.provider_config_id, c.refresh_lane LIMIT 1
    ) next
)
SELECT count(*) FROM (
    SELECT FROM queues q CROSS JOIN LATERAL (
        SELECT FROM credentials c
        WHERE c.provider_config_id = q.provider_config_id AND c.refresh_lane = q.refresh_lane
          AND c.refresh_due_at <= $1 AND (c.lease IS NULL OR c.lease_until <= $1)
        LIMIT 10000
    ) head LIMIT 10000
) due;

-- name: announce
SELECT pg_notify('authpipe_credentials', $1);
