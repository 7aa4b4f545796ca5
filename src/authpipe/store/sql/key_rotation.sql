-- name: count_by_kek
SELECT kek_id, count(*) AS keys FROM data_keys GROUP BY kek_id ORDER BY kek_id;

-- name: page
SELECT * FROM data_keys
WHERE kek_id = ANY ($1::text[]) AND (environment_id, tenant_id, key_id) > ($2, $3, $4)
ORDER BY environment_id, tenant_id, key_id LIMIT $5;

-- name: rewrap
-- Rows that somebody else is writing are left out: two of these never wait for each other, nor others for both.
WITH free AS MATERIALIZED (
    SELECT k.environment_id, k.tenant_id, k.key_id, given.was_kek_id, given.was, given.becomes
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::bytea[], $6::bytea[])
         AS given (environment_id, tenant_id, key_id, was_kek_id, was, becomes)
    JOIN data_keys k USING (environment_id, tenant_id, key_id)
    WHERE k.kek_id = given.was_kek_id AND k.wrapped = given.was
    FOR NO KEY UPDATE OF k SKIP LOCKED
)
UPDATE data_keys k SET kek_id = $7, wrapped = free.becomes
FROM free
WHERE k.environment_id = free.environment_id AND k.tenant_id = free.tenant_id AND k.key_id = free.key_id
  AND k.kek_id = free.was_kek_id AND k.wrapped = free.was
RETURNING k.environment_id, free.was_kek_id;

-- name: aged
SELECT environment_id, tenant_id, key_id FROM data_keys
WHERE is_primary AND created_at <= $1 ORDER BY created_at LIMIT $2;

-- name: claim_retired
WITH due AS MATERIALIZED (
    SELECT environment_id, tenant_id, key_id FROM data_keys
    WHERE NOT is_primary AND examine_at <= $1 ORDER BY examine_at LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE data_keys k SET examine_at = $2
FROM due
WHERE k.environment_id = due.environment_id AND k.tenant_id = due.tenant_id AND k.key_id = due.key_id
RETURNING k.environment_id, k.tenant_id, k.key_id, k.retired_at, k.unused_since;

-- name: settle
UPDATE data_keys SET
    unused_since = CASE WHEN $4::boolean THEN NULL ELSE coalesce(unused_since, $5) END, examine_at = $6
WHERE environment_id = $1 AND tenant_id = $2 AND key_id = $3 AND NOT is_primary;

-- name: in_use
-- Keys from under which something was moved just now.
UPDATE data_keys SET unused_since = NULL
WHERE environment_id = $1 AND tenant_id = $2 AND key_id = ANY ($3::uuid[]) AND unused_since IS NOT NULL;

-- name: lock_unused
SELECT kek_id, created_at, retired_at, encryptions FROM data_keys
WHERE environment_id = $1 AND tenant_id = $2 AND key_id = $3
  AND NOT is_primary AND retired_at <= $4 AND unused_since <= $5
FOR UPDATE;

-- name: destroy
DELETE FROM data_keys WHERE environment_id = $1 AND tenant_id = $2 AND key_id = $3;

-- name: keysets
SELECT k.environment_id, e.name AS environment, k.tenant_id,
       max(k.kek_id) FILTER (WHERE k.is_primary) AS kek_id,
       max(k.created_at) FILTER (WHERE k.is_primary) AS primary_created_at,
       coalesce(max(k.encryptions) FILTER (WHERE k.is_primary), 0) AS encryptions,
       array_agg(k.kek_id ORDER BY k.kek_id) AS kek_ids
FROM data_keys k LEFT JOIN environments e USING (environment_id)
WHERE ($1::uuid IS NULL OR k.environment_id = $1) AND ($2::text IS NULL OR k.tenant_id = $2)
GROUP BY k.environment_id, e.name, k.tenant_id
ORDER BY k.environment_id, k.tenant_id;
