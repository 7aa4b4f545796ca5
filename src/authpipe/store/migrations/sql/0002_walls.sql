-- What guards the stored secrets and tells who touched them: roles of API keys, operators, the audit chain,
-- retired data keys.

-- The rows of before are changed by the tables' owner, whom row-level security binds, too, while it is forced.
ALTER TABLE data_keys NO FORCE ROW LEVEL SECURITY;
ALTER TABLE events NO FORCE ROW LEVEL SECURITY;

-- API keys: what each may do, and for whom.
ALTER TABLE api_keys
    ADD COLUMN role text NOT NULL DEFAULT 'admin' CHECK (role IN ('admin', 'server', 'viewer')),
    ADD COLUMN tenant_id text,
    ADD COLUMN replaced_by uuid;
-- Keys made before there were roles keep what they could do; every new one says what it is.
ALTER TABLE api_keys ALTER COLUMN role DROP DEFAULT;

-- A key that is no primary any more since `retired_at` still decrypts what it encrypted.  A worker looks at
-- `examine_at` for what is still under it; `unused_since` is when it first found nothing.
ALTER TABLE data_keys
    ADD COLUMN retired_at timestamptz,
    ADD COLUMN examine_at timestamptz,
    ADD COLUMN unused_since timestamptz;
UPDATE data_keys SET retired_at = created_at, examine_at = created_at WHERE NOT is_primary;
ALTER TABLE data_keys ADD CHECK (is_primary = (retired_at IS NULL));
CREATE INDEX data_keys_by_kek ON data_keys (kek_id);
CREATE INDEX data_keys_by_age ON data_keys (created_at) WHERE is_primary;
CREATE INDEX data_keys_to_examine ON data_keys (examine_at) WHERE NOT is_primary;
-- The workspace itself, environment 00000000-…, has a keyset and events, and is no environment.
ALTER TABLE data_keys DROP CONSTRAINT data_keys_environment_id_fkey;

-- People who sign in to the dashboard.  They belong to the workspace, so only system-wide work sees them.
CREATE TABLE operators (
    operator_id           uuid PRIMARY KEY,
    email                 text NOT NULL,
    name                  text,
    role                  text NOT NULL CHECK (role IN ('owner', 'developer', 'viewer')),
    password_hash         text,
    oidc_issuer           text,
    oidc_subject          text,
    -- Makes the mark of browsers they signed in with before, which their lock does not hold off.
    known_browser_key     bytea NOT NULL,
    invitation_hash       bytea UNIQUE,
    invitation_expires_at timestamptz,
    failed_sign_ins       integer NOT NULL DEFAULT 0,
    last_failed_at        timestamptz,
    locked_until          timestamptz,
    disabled_at           timestamptz,
    last_sign_in_at       timestamptz,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL)),
    CHECK ((invitation_hash IS NULL) = (invitation_expires_at IS NULL))
);
CREATE UNIQUE INDEX operators_email ON operators (lower(email));
CREATE UNIQUE INDEX operators_oidc ON operators (oidc_issuer, oidc_subject) WHERE oidc_subject IS NOT NULL;

CREATE TABLE operator_sessions (
    session_id     uuid PRIMARY KEY,
    session_hash   bytea NOT NULL UNIQUE,
    operator_id    uuid NOT NULL REFERENCES operators ON DELETE CASCADE,
    method         text NOT NULL CHECK (method IN ('password', 'oidc')),
    source_address text,
    user_agent     text,
    created_at     timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL
);
CREATE INDEX operator_sessions_by_operator ON operator_sessions (operator_id);
CREATE INDEX operator_sessions_ending ON operator_sessions (expires_at);

-- One run of the redirect to the OpenID provider that operators sign in with.
CREATE TABLE sign_in_attempts (
    attempt_id          uuid PRIMARY KEY,
    state_hash          bytea NOT NULL UNIQUE,
    browser_hash        bytea NOT NULL,
    nonce_hash          bytea NOT NULL,
    verifier_ciphertext bytea NOT NULL,
    created_at          timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL
);
CREATE INDEX sign_in_attempts_ending ON sign_in_attempts (expires_at);

-- How often sign-in was tried lately, by where from.
CREATE TABLE sign_in_sources (
    source  text PRIMARY KEY,
    tries   integer NOT NULL,
    ends_at timestamptz NOT NULL
);
CREATE INDEX sign_in_sources_ending ON sign_in_sources (ends_at);

-- The audit chain.  An event waits in unchained_events from the transaction that made it until a process
-- links it; links of one environment are made one after the other, under the lock of its head.
CREATE TABLE unchained_events (
    environment_id uuid NOT NULL,
    event_id       uuid NOT NULL,
    PRIMARY KEY (environment_id, event_id)
);
CREATE TABLE audit_chain (
    environment_id uuid NOT NULL,
    position       bigint NOT NULL CHECK (position > 0),
    event_id       uuid NOT NULL,
    hash           bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (environment_id, position),
    UNIQUE (environment_id, event_id)
);
-- `seal` is the rest of the row encrypted by the vault: who cannot use the KEK cannot make one.  A head is made
-- with its environment, so one that is missing was removed.  What had happened by `complete_at` is linked.
CREATE TABLE audit_heads (
    environment_id uuid PRIMARY KEY,
    position       bigint NOT NULL,
    hash           bytea NOT NULL CHECK (length(hash) = 32),
    seal           bytea,
    complete_at    timestamptz
);
INSERT INTO unchained_events SELECT environment_id, event_id FROM events;

-- Which events make a cached credential stale, or a cached refusal wrong.
CREATE FUNCTION authpipe_is_change(type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN type LIKE 'connection.%' OR type LIKE 'installation.%'
        OR type IN ('credential.stored', 'credential.refreshed', 'tenant.erased', 'provider_config.updated',
                    'provider_config.deleted', 'provider_config.problem', 'provider_config.recovered');

-- What the keepers of caches are told of such an event, and whom it concerns: ids, never a secret.  It fits into
-- a notification (8,000 bytes) with the longest ids there can be.
CREATE FUNCTION authpipe_change(e events) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN jsonb_build_object(
        'environment_id', e.environment_id,
        'event_id', e.event_id,
        'tenant_id', e.tenant_id,
        'change', jsonb_build_object(
            'type', e.type,
            'tenant_id', e.tenant_id,
            'provider', e.data ->> 'provider',
            'user_id', e.data ->> 'user_id',
            'connection_id',
                CASE e.object_kind WHEN 'connection' THEN e.object_id ELSE e.data ->> 'connection_id' END,
            'installation_id',
                CASE e.object_kind WHEN 'installation' THEN e.object_id ELSE e.data ->> 'installation_id' END,
            'credential_id', CASE e.object_kind WHEN 'credential' THEN e.object_id END,
            'created_at', to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        )
    )::text;

-- Transactions that notify commit one after the other, so only those do that somebody must hear of.
CREATE FUNCTION authpipe_queue_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unchained_events VALUES (NEW.environment_id, NEW.event_id);
    IF authpipe_is_change(NEW.type) THEN
        PERFORM pg_notify('authpipe_changes', authpipe_change(NEW));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER queue_for_chain AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION authpipe_queue_event();

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'operators', 'operator_sessions', 'sign_in_attempts', 'sign_in_sources', 'unchained_events', 'audit_chain',
        'audit_heads'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY system ON %I TO authpipe_system '
                       'USING (current_user = ''authpipe_system'') WITH CHECK (current_user = ''authpipe_system'')',
                       name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO authpipe_system', name);
        -- Nothing of the workspace is visible from within an environment.
        IF name <> 'unchained_events' THEN
            EXECUTE format('CREATE POLICY app ON %I TO authpipe_app USING (false) WITH CHECK (false)', name);
        END IF;
        EXECUTE format('GRANT SELECT ON %I TO authpipe_app', name);
    END LOOP;
END $$;
-- An event is queued by whoever may add it.
CREATE POLICY app ON unchained_events TO authpipe_app
    USING (false) WITH CHECK (environment_id = authpipe_environment());
GRANT INSERT ON unchained_events TO authpipe_app;
REVOKE UPDATE ON unchained_events FROM authpipe_system;
-- A link is a fact like its event.
REVOKE UPDATE, DELETE ON audit_chain FROM authpipe_system;
-- A head moves on and never goes.
REVOKE DELETE ON audit_heads FROM authpipe_system;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO authpipe_app, authpipe_system;

-- Erasing a tenant.  From `erasing_at` on nothing begins for it; its row goes last, with that of the erasure.
ALTER TABLE tenants ADD COLUMN erasing_at timestamptz;
-- Nearly always empty, so that asking costs next to nothing.
CREATE INDEX tenants_erasing ON tenants (environment_id, tenant_id) WHERE erasing_at IS NOT NULL;
-- Whose object an answer shows: it goes with that tenant.
ALTER TABLE idempotency_keys ADD COLUMN tenant_id text;
CREATE INDEX idempotency_keys_by_tenant ON idempotency_keys (environment_id, tenant_id)
    WHERE tenant_id IS NOT NULL;
CREATE INDEX api_keys_by_tenant ON api_keys (environment_id, tenant_id) WHERE tenant_id IS NOT NULL;
CREATE INDEX installation_claims_by_tenant ON installation_claims (environment_id, tenant_id);

-- How far an erasure is: `step` is done up to and including the id `after`; `counts` are what it did so far.
CREATE TABLE erasures (
    environment_id uuid NOT NULL,
    tenant_id      text NOT NULL,
    actor_kind     text NOT NULL,
    actor_id       text,
    request_id     text,
    source_address text,
    step           text NOT NULL,
    after          uuid,
    counts         jsonb NOT NULL DEFAULT '{}',
    lease          uuid,
    lease_until    timestamptz,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id),
    FOREIGN KEY (environment_id, tenant_id) REFERENCES tenants
);
ALTER TABLE erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON erasures TO authpipe_app
    USING (environment_id = authpipe_environment() AND authpipe_sees(tenant_id))
    WITH CHECK (environment_id = authpipe_environment() AND authpipe_sees(tenant_id));
CREATE POLICY system ON erasures TO authpipe_system
    USING (current_user = 'authpipe_system') WITH CHECK (current_user = 'authpipe_system');
GRANT SELECT, INSERT, UPDATE, DELETE ON erasures TO authpipe_app, authpipe_system;

-- No row of a tenant is added once it is being erased, whoever tries and however late.  The key-share lock makes
-- an erasure that begins wait for what is being added, and what is added later see the erasure.
CREATE FUNCTION authpipe_refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erasing timestamptz;
BEGIN
    SELECT t.erasing_at INTO erasing FROM tenants t
    WHERE t.environment_id = NEW.environment_id AND t.tenant_id = NEW.tenant_id
    FOR KEY SHARE;
    -- An API key may be made for a tenant that does not exist yet.
    IF erasing IS NOT NULL OR (NOT FOUND AND TG_TABLE_NAME <> 'api_keys') THEN
        RAISE EXCEPTION 'the tenant is being erased' USING ERRCODE = 'AE001';
    END IF;
    RETURN NULL;
END $$;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'data_keys', 'installations', 'installation_claims', 'connections', 'credentials', 'connect_sessions',
        'authorization_attempts', 'candidates', 'idempotency_keys', 'api_keys'
    ] LOOP
        EXECUTE format('CREATE TRIGGER refuse_erased AFTER INSERT OR UPDATE OF tenant_id ON %I FOR EACH ROW '
                       'WHEN (NEW.tenant_id <> ''*'') EXECUTE FUNCTION authpipe_refuse_erased()', name);
    END LOOP;
END $$;

-- The read path once more.  A tenant that is being erased is told by one row, of the owner kind `erasing`.
--
-- What ranks lower (a connection of the whole tenant, an installation) is looked for only where it could be the
-- answer: when there is nothing that ranks higher, or when a kind is asked for, which what ranks higher may not
-- have.  Each query is one walk down one index; `user_id = … OR user_id IS NULL` would cost half as much again.
-- Stable, so that everything is read as of one moment.
DROP FUNCTION authpipe_read_credential(uuid, text, text, text, text, uuid, text, text);
CREATE FUNCTION authpipe_read_credential(
    p_environment uuid, p_tenant text, p_provider text, p_user text,
    p_for text, p_installation uuid, p_label text, p_kind text
) RETURNS TABLE (
    owner_kind text, owner_id uuid, user_id text, installation_id uuid, status text, status_reason text,
    label text, is_primary boolean, account_name text, metadata jsonb,
    enabled boolean, app_credential_ciphertext bytea, provider_config_id uuid,
    credential_id uuid, kind text, source text, secret_ciphertext bytea, facts jsonb, scopes text[],
    expires_at timestamptz, refresh_due_at timestamptz, refreshable boolean, version bigint
) LANGUAGE plpgsql STABLE ROWS 1 AS $$
DECLARE
    -- Assignments: a PERFORM would be a query of its own.
    environment_scope text := set_config('authpipe.environment_id', p_environment::text, true);
    tenant_scope text := set_config('authpipe.tenant_id', p_tenant, true);
BEGIN
    IF p_for <> 'installation' THEN
        RETURN QUERY
        SELECT 'connection'::text, c.connection_id, c.user_id, c.installation_id, c.status, c.status_reason,
               c.label, c.is_primary, c.account_name, c.metadata,
               p.enabled, p.app_credential_ciphertext, p.provider_config_id,
               k.credential_id, k.kind, k.source, k.secret_ciphertext, k.facts, k.scopes,
               k.expires_at, k.refresh_due_at, k.refresh_ciphertext IS NOT NULL, k.version
        FROM connections c
        JOIN provider_configs p
          ON p.environment_id = c.environment_id AND p.provider_config_id = c.provider_config_id
        LEFT JOIN credentials k
          ON k.environment_id = c.environment_id AND k.tenant_id = c.tenant_id
         AND k.owner_id = c.connection_id
         AND (k.kind = p_kind OR (p_kind IS NULL AND k.kind <> 'webhook_secret'))
        WHERE c.environment_id = p_environment AND c.tenant_id = p_tenant AND c.provider = p_provider
          AND c.user_id = p_user AND c.status <> 'revoked'
          AND (p_label IS NULL OR c.label = p_label)
          AND (p_installation IS NULL OR c.installation_id = p_installation)
          AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = p_environment
                             AND t.tenant_id = p_tenant AND t.erasing_at IS NOT NULL);
        IF p_kind IS NOT NULL OR NOT FOUND THEN
            RETURN QUERY
            SELECT 'connection'::text, c.connection_id, c.user_id, c.installation_id, c.status, c.status_reason,
                   c.label, c.is_primary, c.account_name, c.metadata,
                   p.enabled, p.app_credential_ciphertext, p.provider_config_id,
                   k.credential_id, k.kind, k.source, k.secret_ciphertext, k.facts, k.scopes,
                   k.expires_at, k.refresh_due_at, k.refresh_ciphertext IS NOT NULL, k.version
            FROM connections c
            JOIN provider_configs p
              ON p.environment_id = c.environment_id AND p.provider_config_id = c.provider_config_id
            LEFT JOIN credentials k
              ON k.environment_id = c.environment_id AND k.tenant_id = c.tenant_id
             AND k.owner_id = c.connection_id
             AND (k.kind = p_kind OR (p_kind IS NULL AND k.kind <> 'webhook_secret'))
            WHERE c.environment_id = p_environment AND c.tenant_id = p_tenant AND c.provider = p_provider
              AND c.user_id IS NULL AND c.status <> 'revoked'
              AND (p_label IS NULL OR c.label = p_label)
              AND (p_installation IS NULL OR c.installation_id = p_installation)
              AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = p_environment
                                 AND t.tenant_id = p_tenant AND t.erasing_at IS NOT NULL);
        END IF;
    END IF;
    IF p_for <> 'user' AND (p_kind IS NOT NULL OR NOT FOUND) THEN
        RETURN QUERY
        SELECT 'installation'::text, i.installation_id, NULL::text, i.installation_id, i.status, i.status_reason,
               i.label, i.is_primary, i.external_name, i.metadata,
               p.enabled, p.app_credential_ciphertext, p.provider_config_id,
               k.credential_id, k.kind, k.source, k.secret_ciphertext, k.facts, k.scopes,
               k.expires_at, k.refresh_due_at, k.refresh_ciphertext IS NOT NULL, k.version
        FROM installations i
        JOIN provider_configs p
          ON p.environment_id = i.environment_id AND p.provider_config_id = i.provider_config_id
        LEFT JOIN credentials k
          ON k.environment_id = i.environment_id AND k.tenant_id = i.tenant_id
         AND k.owner_id = i.installation_id
         AND (k.kind = p_kind OR (p_kind IS NULL AND k.kind <> 'webhook_secret'))
        WHERE i.environment_id = p_environment AND i.tenant_id = p_tenant AND i.provider = p_provider
          AND i.status <> 'deleted'
          AND (p_label IS NULL OR i.label = p_label)
          AND (p_installation IS NULL OR i.installation_id = p_installation)
          AND NOT EXISTS (SELECT FROM tenants t WHERE t.environment_id = p_environment
                             AND t.tenant_id = p_tenant AND t.erasing_at IS NOT NULL);
    END IF;
    IF NOT FOUND AND EXISTS (SELECT FROM tenants t WHERE t.environment_id = p_environment
                                AND t.tenant_id = p_tenant AND t.erasing_at IS NOT NULL) THEN
        owner_kind := 'erasing';
        RETURN NEXT;
    END IF;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO authpipe_app, authpipe_system;

-- What is due waits in a queue for each provider config, so that one which is paused, or has much to do, is in
-- nobody's way; and in one of three lanes by how much time is left once it is due, so that a token of a minute
-- does not wait behind those of a day.
ALTER TABLE credentials ADD COLUMN refresh_lane smallint GENERATED ALWAYS AS (
    CASE WHEN expires_at - refresh_due_at < interval '2 minutes' THEN 0
         WHEN expires_at - refresh_due_at < interval '20 minutes' THEN 1
         ELSE 2 END
) STORED;
DROP INDEX credentials_due;
CREATE INDEX credentials_due ON credentials (provider_config_id, refresh_lane, refresh_due_at)
    WHERE refresh_due_at IS NOT NULL;
-- A lease changes no indexed column: with room in its page the row stays there, and no index hears of it.
-- What a refresh leaves dead at the low end of the queues goes soon, not when a fifth of the table is dead.
ALTER TABLE credentials SET (
    fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.2
);

ALTER TABLE data_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
