// An OpenID provider for tests: one client, accounts from a file that is read anew for every answer.
// Configured by one JSON document in OIDC_PROVIDER; prints a line once it listens.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const given = JSON.parse(process.env.OIDC_PROVIDER);
const account = (id) => JSON.parse(readFileSync(given.accounts, 'utf-8'))[id];

const provider = new Provider(given.issuer, {
  clients: [{
    client_id: given.client_id,
    client_secret: given.client_secret,
    redirect_uris: [given.redirect_uri],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    id_token_signed_response_alg: given.algorithm,
    token_endpoint_auth_method: given.client_authentication,
  }],
  clientAuthMethods: [given.client_authentication],
  jwks: { keys: given.keys },
  cookies: { keys: ['a-key-for-tests-alone'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  // true: the ID token holds no email, and the userinfo endpoint has to be asked.
  conformIdTokenClaims: given.email_at_userinfo,
  pkce: { required: () => true },
  enabledJWA: { idTokenSigningAlgValues: [given.algorithm] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id, ...account(id) }) }),
});

const { port } = new URL(given.issuer);
createServer(provider.callback()).listen(Number(port), '127.0.0.1', () => console.log('ready'));
