-- Two roles the application takes on; neither owns a table, so row-level security binds both.
--   authpipe_app     sees one environment, and of it one tenant ('*' for every tenant of the environment)
--   authpipe_system  sees across environments: key lookup, claims of due work, lookup of one-time hashes
DO $$
DECLARE
    name text;
    -- From 16 on, being a member (as the maker of a role is) does not yet mean being allowed to take it on.
    needed text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH name IN ARRAY ARRAY['authpipe_app', 'authpipe_system'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        IF NOT pg_has_role(current_user, name, needed) THEN
            EXECUTE format('GRANT %I TO %I', name, current_user);
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION authpipe_environment() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('authpipe.environment_id', true), '')::uuid;

-- A setting made with SET LOCAL reads as '' afterwards, so '' must mean "no tenant".
CREATE FUNCTION authpipe_sees(tenant text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_setting('authpipe.tenant_id', true) <> ''
       AND (current_setting('authpipe.tenant_id', true) = '*'
            OR tenant = current_setting('authpipe.tenant_id', true));

CREATE TABLE environments (
    environment_id uuid PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    kind           text NOT NULL CHECK (kind IN ('development', 'production')),
    return_urls    text[] NOT NULL DEFAULT '{}',
    origins        text[] NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL
);

CREATE TABLE api_keys (
    environment_id uuid NOT NULL REFERENCES environments,
    api_key_id     uuid NOT NULL,
    name           text NOT NULL,
    prefix         text NOT NULL,
    key_hash       bytea NOT NULL UNIQUE,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz,
    revoked_at     timestamptz,
    last_used_at   timestamptz,
    PRIMARY KEY (environment_id, api_key_id)
);

CREATE TABLE tenants (
    environment_id uuid NOT NULL REFERENCES environments,
    tenant_id      text NOT NULL,
    name           text,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id)
);

-- tenant_id '*' is the environment's own keyset: visible only to environment-wide work.
CREATE TABLE data_keys (
    environment_id uuid NOT NULL REFERENCES environments,
    tenant_id      text NOT NULL,
    key_id         uuid NOT NULL,
    kek_id         text NOT NULL,
    wrapped        bytea NOT NULL,
    is_primary     boolean NOT NULL,
    encryptions    bigint NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id, key_id)
);
CREATE UNIQUE INDEX data_keys_primary ON data_keys (environment_id, tenant_id) WHERE is_primary;

CREATE TABLE provider_configs (
    environment_id            uuid NOT NULL REFERENCES environments,
    provider_config_id        uuid NOT NULL,
    provider                  text NOT NULL,
    enabled                   boolean NOT NULL,
    client_id                 text,
    client_secret_ciphertext  bytea,
    app_credential_ciphertext bytea,
    scopes                    text[] NOT NULL DEFAULT '{}',
    installation_scopes       text[] NOT NULL DEFAULT '{}',
    base_url                  text,
    attachment                text NOT NULL CHECK (attachment IN ('tenant', 'user')),
    parameters                jsonb NOT NULL DEFAULT '{}',
    problem                   text,
    version                   bigint NOT NULL DEFAULT 1,
    created_at                timestamptz NOT NULL,
    updated_at                timestamptz NOT NULL,
    PRIMARY KEY (environment_id, provider_config_id),
    UNIQUE (environment_id, provider)
);

CREATE TABLE installations (
    environment_id     uuid NOT NULL,
    tenant_id          text NOT NULL,
    installation_id    uuid NOT NULL,
    provider_config_id uuid NOT NULL,
    provider           text NOT NULL,
    external_id        text NOT NULL,
    external_name      text,
    status             text NOT NULL CHECK (status IN ('active', 'needs_reauth', 'suspended', 'deleted')),
    status_reason      text,
    label              text,
    is_primary         boolean NOT NULL DEFAULT false,
    installed_by       text,
    scopes             text[] NOT NULL DEFAULT '{}',
    metadata           jsonb NOT NULL DEFAULT '{}',
    version            bigint NOT NULL DEFAULT 1,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id, installation_id),
    FOREIGN KEY (environment_id, tenant_id) REFERENCES tenants,
    FOREIGN KEY (environment_id, provider_config_id) REFERENCES provider_configs
);
CREATE INDEX installations_by_provider ON installations (environment_id, tenant_id, provider);
CREATE UNIQUE INDEX installations_one_primary ON installations (environment_id, tenant_id, provider)
    WHERE is_primary AND status <> 'deleted';

-- One workspace at a provider belongs to one tenant of an environment.
CREATE TABLE installation_claims (
    environment_id     uuid NOT NULL,
    provider_config_id uuid NOT NULL,
    external_id        text NOT NULL,
    tenant_id          text NOT NULL,
    installation_id    uuid NOT NULL,
    PRIMARY KEY (environment_id, provider_config_id, external_id)
);

CREATE TABLE connections (
    environment_id     uuid NOT NULL,
    tenant_id          text NOT NULL,
    connection_id      uuid NOT NULL,
    user_id            text,
    provider_config_id uuid NOT NULL,
    provider           text NOT NULL,
    installation_id    uuid,
    status             text NOT NULL CHECK (status IN ('active', 'needs_reauth', 'failed', 'revoked')),
    status_reason      text,
    label              text,
    is_primary         boolean NOT NULL DEFAULT false,
    account_id         text,
    account_name       text,
    scopes             text[] NOT NULL DEFAULT '{}',
    metadata           jsonb NOT NULL DEFAULT '{}',
    version            bigint NOT NULL DEFAULT 1,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id, connection_id),
    FOREIGN KEY (environment_id, tenant_id) REFERENCES tenants,
    FOREIGN KEY (environment_id, provider_config_id) REFERENCES provider_configs
);
CREATE INDEX connections_by_provider ON connections (environment_id, tenant_id, provider, user_id);
CREATE INDEX connections_by_account ON connections (environment_id, provider_config_id, account_id);
-- One live connection per user, provider and label: a second one needs a label of its own.
CREATE UNIQUE INDEX connections_one_per_label
    ON connections (environment_id, tenant_id, provider_config_id, coalesce(user_id, ''), coalesce(label, ''))
    WHERE status <> 'revoked';
CREATE UNIQUE INDEX connections_one_primary
    ON connections (environment_id, tenant_id, provider, coalesce(user_id, ''))
    WHERE is_primary AND status <> 'revoked';

CREATE TABLE credentials (
    environment_id              uuid NOT NULL,
    tenant_id                   text NOT NULL,
    credential_id               uuid NOT NULL,
    owner_kind                  text NOT NULL CHECK (owner_kind IN ('connection', 'installation')),
    owner_id                    uuid NOT NULL,
    provider_config_id          uuid NOT NULL,
    provider                    text NOT NULL,
    kind                        text NOT NULL,
    source                      text NOT NULL CHECK (source IN ('own', 'provider_config')),
    secret_ciphertext           bytea,
    refresh_ciphertext          bytea,
    previous_secret_ciphertext  bytea,
    previous_refresh_ciphertext bytea,
    previous_until              timestamptz,
    facts                       jsonb NOT NULL DEFAULT '{}',
    scopes                      text[] NOT NULL DEFAULT '{}',
    expires_at                  timestamptz,
    refresh_due_at              timestamptz,
    refresh_expires_at          timestamptz,
    version                     bigint NOT NULL DEFAULT 1,
    lease                       uuid,
    lease_until                 timestamptz,
    outcome_unknown             boolean NOT NULL DEFAULT false,
    refresh_failures            integer NOT NULL DEFAULT 0,
    last_error                  text,
    issued_at                   timestamptz NOT NULL,
    updated_at                  timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id, credential_id),
    UNIQUE (environment_id, tenant_id, owner_id, kind),
    CHECK ((source = 'own') = (secret_ciphertext IS NOT NULL))
);
-- The claim reads this index from its low end: its cost follows what is due, not what exists.
CREATE INDEX credentials_due ON credentials (refresh_due_at) WHERE refresh_due_at IS NOT NULL;
CREATE INDEX credentials_previous ON credentials (previous_until) WHERE previous_until IS NOT NULL;

CREATE TABLE connect_sessions (
    environment_id       uuid NOT NULL,
    tenant_id            text NOT NULL,
    session_id           uuid NOT NULL,
    user_id              text,
    kind                 text NOT NULL CHECK (kind IN ('connection', 'installation')),
    provider_config_id   uuid NOT NULL,
    provider             text NOT NULL,
    status               text NOT NULL CHECK (status IN
        ('pending', 'opened', 'authorizing', 'candidate', 'completed', 'failed', 'expired')),
    scopes               text[] NOT NULL DEFAULT '{}',
    label                text,
    installation_id      uuid,
    reconnect_id         uuid,
    return_mode          text NOT NULL CHECK (return_mode IN ('redirect', 'popup')),
    return_url           text NOT NULL,
    token_hash           bytea NOT NULL UNIQUE,
    browser_hash         bytea,
    completion_hash      bytea,
    key_attempts         integer NOT NULL DEFAULT 0,
    error_code           text,
    connection_id        uuid,
    made_installation_id uuid,
    expires_at           timestamptz NOT NULL,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id, session_id),
    FOREIGN KEY (environment_id, tenant_id) REFERENCES tenants,
    FOREIGN KEY (environment_id, provider_config_id) REFERENCES provider_configs
);
CREATE INDEX connect_sessions_ending ON connect_sessions (expires_at)
    WHERE status IN ('pending', 'opened', 'authorizing', 'candidate');

CREATE TABLE authorization_attempts (
    environment_id      uuid NOT NULL,
    tenant_id           text NOT NULL,
    attempt_id          uuid NOT NULL,
    session_id          uuid NOT NULL,
    provider_config_id  uuid NOT NULL,
    state_hash          bytea NOT NULL UNIQUE,
    browser_hash        bytea NOT NULL,
    verifier_ciphertext bytea,
    redirect_uri        text NOT NULL,
    scopes              text[] NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL,
    PRIMARY KEY (environment_id, tenant_id, attempt_id)
);

CREATE TABLE candidates (
    environment_id     uuid NOT NULL,
    tenant_id          text NOT NULL,
    candidate_id       uuid NOT NULL,
    session_id         uuid NOT NULL,
    provider_config_id uuid NOT NULL,
    grant_ciphertext   bytea NOT NULL,
    account            jsonb NOT NULL,
    created_at         timestamptz NOT NULL,
    expires_at         timestamptz NOT NULL,
    lease              uuid,
    lease_until        timestamptz,
    PRIMARY KEY (environment_id, tenant_id, candidate_id),
    UNIQUE (environment_id, tenant_id, session_id)
);
CREATE INDEX candidates_ending ON candidates (expires_at);

CREATE TABLE events (
    environment_id uuid NOT NULL,
    tenant_id      text,
    event_id       uuid NOT NULL,
    type           text NOT NULL,
    object_kind    text NOT NULL,
    object_id      text NOT NULL,
    actor_kind     text NOT NULL,
    actor_id       text,
    request_id     text,
    source_address text,
    outcome        text NOT NULL CHECK (outcome IN ('success', 'failure')),
    data           jsonb NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (environment_id, event_id)
);
CREATE INDEX events_by_tenant ON events (environment_id, tenant_id, event_id);
CREATE INDEX events_by_object ON events (environment_id, object_id, event_id);

CREATE TABLE idempotency_keys (
    environment_id      uuid NOT NULL,
    api_key_id          uuid NOT NULL,
    idempotency_key     text NOT NULL,
    request_hash        bytea NOT NULL,
    row_id              uuid NOT NULL,
    response_status     integer,
    response_ciphertext bytea,
    created_at          timestamptz NOT NULL,
    PRIMARY KEY (environment_id, api_key_id, idempotency_key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

DO $$
DECLARE
    name text;
    rule text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'environments', 'api_keys', 'tenants', 'data_keys', 'provider_configs', 'installations',
        'installation_claims', 'connections', 'credentials', 'connect_sessions', 'authorization_attempts',
        'candidates', 'events', 'idempotency_keys'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        -- What belongs to the environment as a whole has no tenant to compare.
        IF name IN ('environments', 'api_keys', 'provider_configs', 'installation_claims', 'idempotency_keys') THEN
            rule := 'environment_id = authpipe_environment()';
        ELSE
            rule := 'environment_id = authpipe_environment() AND authpipe_sees(tenant_id)';
        END IF;
        EXECUTE format('CREATE POLICY app ON %I TO authpipe_app USING (%s) WITH CHECK (%s)', name, rule, rule);
        -- The owner may inherit this policy with the role; it holds only once the role was taken on.
        EXECUTE format('CREATE POLICY system ON %I TO authpipe_system '
                       'USING (current_user = ''authpipe_system'') WITH CHECK (current_user = ''authpipe_system'')',
                       name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO authpipe_app, authpipe_system', name);
    END LOOP;
    -- An event is a fact: nobody changes or removes one.
    REVOKE UPDATE, DELETE ON events FROM authpipe_app, authpipe_system;
END $$;

-- An environment-wide event has no tenant; it is visible to, and written by, environment-wide work only.
DROP POLICY app ON events;
CREATE POLICY app ON events TO authpipe_app
    USING (environment_id = authpipe_environment()
           AND (authpipe_sees(tenant_id) OR (tenant_id IS NULL AND authpipe_sees('*'))))
    WITH CHECK (environment_id = authpipe_environment()
           AND (authpipe_sees(tenant_id) OR (tenant_id IS NULL AND authpipe_sees('*'))));

-- The read path: one statement that also carries the row-level security settings.
CREATE FUNCTION authpipe_read_credential(
    p_environment uuid, p_tenant text, p_provider text, p_user text,
    p_for text, p_installation uuid, p_label text, p_kind text
) RETURNS TABLE (
    owner_kind text, owner_id uuid, user_id text, installation_id uuid, status text, status_reason text,
    label text, is_primary boolean, account_name text, metadata jsonb, external_id text,
    enabled boolean, app_credential_ciphertext bytea, problem text, provider_config_id uuid,
    credential_id uuid, kind text, source text, secret_ciphertext bytea, facts jsonb, scopes text[],
    expires_at timestamptz, refresh_due_at timestamptz, refreshable boolean, version bigint
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('authpipe.environment_id', p_environment::text, true),
            set_config('authpipe.tenant_id', p_tenant, true);
    IF p_for <> 'installation' THEN
        RETURN QUERY
        SELECT 'connection'::text, c.connection_id, c.user_id, c.installation_id, c.status, c.status_reason,
               c.label, c.is_primary, c.account_name, c.metadata, NULL::text,
               p.enabled, p.app_credential_ciphertext, p.problem, p.provider_config_id,
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
          AND c.status <> 'revoked'
          AND (c.user_id = p_user OR c.user_id IS NULL)
          AND (p_label IS NULL OR c.label = p_label)
          AND (p_installation IS NULL OR c.installation_id = p_installation);
    END IF;
    IF p_for <> 'user' THEN
        RETURN QUERY
        SELECT 'installation'::text, i.installation_id, NULL::text, i.installation_id, i.status, i.status_reason,
               i.label, i.is_primary, i.external_name, i.metadata, i.external_id,
               p.enabled, p.app_credential_ciphertext, p.problem, p.provider_config_id,
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
          AND (p_installation IS NULL OR i.installation_id = p_installation);
    END IF;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO authpipe_app, authpipe_system;
