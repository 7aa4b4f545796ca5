// GET /v1/credentials as an Express application would serve it: the same key check, the same statement, the
// same decryption and nearly the same answer.  Settings come from the environment; see ../read_path.py.
import { createDecipheriv, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import express from 'express';
import pg from 'pg';

const given = JSON.parse(readFileSync(process.env.BENCHMARK_FILE, 'utf8'));
const keys = new Map(Object.entries(given.keys).map(([id, hex]) => [id, Buffer.from(hex, 'hex')]));
const environmentId = Buffer.from(given.environment_id.replaceAll('-', ''), 'hex');
const keyHash = createHash('sha256').update(given.api_key).digest('hex');
const pool = new pg.Pool({ connectionString: given.dsn, max: 16, options: '-c role=authpipe_app -c timezone=UTC' });

const fact = (value) => {
  const head = Buffer.alloc(5);
  head.writeUInt8(1);
  head.writeUInt32BE(value.length, 1);
  return Buffer.concat([head, value]);
};

function decrypt(ciphertext, tenantId, credentialId) {
  const keyId = ciphertext.subarray(1, 17);
  const associated = Buffer.concat(
    [
      Buffer.from('payload'), ciphertext.subarray(0, 1), environmentId, Buffer.from(tenantId),
      Buffer.from(credentialId.replaceAll('-', ''), 'hex'), Buffer.from('secret'), keyId,
    ].map(fact),
  );
  const decipher = createDecipheriv('aes-256-gcm', keys.get(keyId.toString('hex')), ciphertext.subarray(17, 29));
  decipher.setAAD(associated);
  decipher.setAuthTag(ciphertext.subarray(ciphertext.length - 16));
  const plain = decipher.update(ciphertext.subarray(29, ciphertext.length - 16));
  return Buffer.concat([plain, decipher.final()]).toString('utf8');
}

const application = express();
application.disable('x-powered-by');
application.disable('etag');
application.get('/v1/credentials', async (request, response) => {
  const sent = (request.get('authorization') ?? '').slice('Bearer '.length);
  if (createHash('sha256').update(sent).digest('hex') !== keyHash) {
    response.status(401).json({ code: 'unauthenticated' });
    return;
  }
  const { provider, tenant_id: tenantId, user_id: userId } = request.query;
  const found = await pool.query({
    name: 'read',
    text: 'SELECT * FROM authpipe_read_credential($1, $2, $3, $4, $5, $6, $7, $8)',
    values: [given.environment_id, tenantId, provider, userId, 'any', null, null, null],
  });
  const row = found.rows[0];
  if (row === undefined) {
    response.status(404).json({ code: 'not_connected' });
    return;
  }
  const secret = decrypt(row.secret_ciphertext, tenantId, row.credential_id);
  response.set('Cache-Control', 'no-store').json({
    object: 'credential', credential_id: row.credential_id, kind: row.kind, provider, tenant_id: tenantId,
    user_id: row.user_id, connection_id: row.owner_id, installation_id: row.installation_id, label: row.label,
    credential: secret, headers: { Authorization: `Bearer ${secret}` }, expires_at: row.expires_at,
    refetch_at: row.refresh_due_at, scopes: row.scopes, metadata: { ...row.metadata, ...row.facts },
    version: Number(row.version),
  });
});
application.listen(Number(given.port), '127.0.0.1');
