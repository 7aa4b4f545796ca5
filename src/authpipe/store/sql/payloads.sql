-- Statements about one column of ciphertexts; {table}, {column}, {row_id} and {owned} are filled in from the
-- list in store/payload_columns.py and from nowhere else.  Bytes 2 to 17 of a ciphertext are its key's id.

-- name: page
SELECT {row_id} AS row_id, {column} AS ciphertext FROM {table}
WHERE {owned} AND substr({column}, 2, 16) = ANY ($3::bytea[]) AND ($4::uuid IS NULL OR {row_id} > $4)
ORDER BY {row_id} LIMIT $5;

-- name: swap
-- Rows that somebody else is writing are left out, so that nobody ever waits in a circle with this.
WITH free AS MATERIALIZED (
    SELECT kept.{row_id} AS row_id, given.was, given.becomes
    FROM unnest($3::uuid[], $4::bytea[], $5::bytea[]) AS given (row_id, was, becomes)
    JOIN {table} kept ON kept.{row_id} = given.row_id
    WHERE {owned} AND kept.{column} = given.was
    FOR NO KEY UPDATE OF kept SKIP LOCKED
)
UPDATE {table} kept SET {column} = free.becomes
FROM free
WHERE {owned} AND kept.{row_id} = free.row_id AND kept.{column} = free.was;

-- name: keys_of_owner
SELECT substr({column}, 2, 16) AS key_id FROM {table} WHERE {owned} AND {column} IS NOT NULL

-- name: keys_of_all
SELECT {environment} AS environment_id, {tenant} AS tenant_id, substr({column}, 2, 16) AS key_id
FROM {table} WHERE {column} IS NOT NULL

-- name: count
SELECT key_id, count(*) AS payloads FROM ({payloads}) found GROUP BY key_id;

-- name: astray
-- Of every keyset the payloads that are not under its primary; `lost` are those whose key does not exist.
SELECT p.environment_id, p.tenant_id,
       count(k.key_id) AS under_retired_keys, count(*) FILTER (WHERE k.key_id IS NULL) AS lost
FROM ({payloads}) p
LEFT JOIN data_keys k
  ON k.environment_id = p.environment_id AND k.tenant_id = p.tenant_id AND uuid_send(k.key_id) = p.key_id
WHERE k.is_primary IS NOT TRUE
  AND ($1::uuid IS NULL OR p.environment_id = $1) AND ($2::text IS NULL OR p.tenant_id = $2)
GROUP BY p.environment_id, p.tenant_id
ORDER BY p.environment_id, p.tenant_id;
