-- What guards the stored secrets and tells who touched them: roles of API keys, operators, the audit chain,
-- retired data keys.

-- API keys: what each may do, and for whom.
ALTER TABLE api_keys
    ADD COLUMN role text NOT NULL DEFAULT 'admin' CHECK (role IN ('admin', 'server', 'viewer')),
    ADD COLUMN tenant_id text,
    ADD COLUMN replaced_by uuid;
-- Keys made before there were roles keep what they could do; every new one says what it is.
ALTER TABLE api_keys ALTER COLUMN role DROP DEFAULT;

-- A key that is no primary any more since `retired_at` still decrypts what it encrypted.
ALTER TABLE data_keys ADD COLUMN retired_at timestamptz;
UPDATE data_keys SET retired_at = created_at WHERE NOT is_primary;
ALTER TABLE data_keys ADD CHECK (is_primary = (retired_at IS NULL));
CREATE INDEX data_keys_by_kek ON data_keys (kek_id);
CREATE INDEX data_keys_by_age ON data_keys (created_at) WHERE is_primary;
CREATE INDEX data_keys_retired ON data_keys (retired_at) WHERE NOT is_primary;
-- The workspace itself, environment 00000000-…, has a keyset and events, and is no environment.
ALTER TABLE data_keys DROP CONSTRAINT data_keys_environment_id_fkey;

-- People who sign in to the dashboard.  They belong to the workspace, so only system-wide work sees them.
CREATE TABLE operators (
    operator_id     uuid PRIMARY KEY,
    email           text NOT NULL,
    name            text,
    role            text NOT NULL CHECK (role IN ('owner', 'developer', 'viewer')),
    password_hash   text,
    oidc_issuer     text,
    oidc_subject    text,
    failed_sign_ins integer NOT NULL DEFAULT 0,
    locked_until    timestamptz,
    disabled_at     timestamptz,
    last_sign_in_at timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL))
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
-- `seal` is the head's hash encrypted by the vault: who cannot use the KEK cannot make one.
CREATE TABLE audit_heads (
    environment_id uuid PRIMARY KEY,
    position       bigint NOT NULL,
    hash           bytea NOT NULL CHECK (length(hash) = 32),
    seal           bytea,
    sealed_at      timestamptz
);
INSERT INTO unchained_events SELECT environment_id, event_id FROM events;

CREATE FUNCTION authpipe_queue_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unchained_events VALUES (NEW.environment_id, NEW.event_id);
    RETURN NULL;
END $$;
CREATE TRIGGER queue_for_chain AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION authpipe_queue_event();

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'operators', 'operator_sessions', 'sign_in_attempts', 'unchained_events', 'audit_chain', 'audit_heads'
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
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO authpipe_app, authpipe_system;
