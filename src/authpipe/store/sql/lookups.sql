-- Outside a transaction: the function sets the row-level security scope itself, for as long as it runs.

-- name: one
SELECT * FROM authpipe_read_credential($1, $2, $3, $4, $5, $6, $7, $8);

-- name: many
-- One call for each lookup, each in the scope of its own tenant; nothing joins what two of them find.
SELECT asked.number, found.*
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[])
         WITH ORDINALITY AS asked
         (environment_id, tenant_id, provider, user_id, credential_for, installation_id, label, kind, number)
CROSS JOIN LATERAL authpipe_read_credential(
    asked.environment_id, asked.tenant_id, asked.provider, asked.user_id,
    asked.credential_for, asked.installation_id, asked.label, asked.kind
) AS found;
