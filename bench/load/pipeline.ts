// The plain case behind the whole pipeline, and HAProxy doing the same: token, limit, breaker, canary, request id.
import { canaryEntry } from './canary.ts'
import { jwtEntry, makeCredentials } from './credentials.ts'
import { plain } from './plain.ts'
import type { Scenario } from './scenario.ts'

export const pipeline: Scenario = {
  ...plain,
  name: 'pipeline',
  question:
    'What does a GET cost behind jwt (RS256), a rate limit in memory, a breaker, a sticky canary and request-id together?',
  async prepare(folder) {
    const credentials = makeCredentials(folder)
    const plugins = [
      'request-id',
      jwtEntry(credentials),
      '{ rate-limit: { limit: 100000000, window: 1m } }',
      'circuit-breaker',
      canaryEntry('jwt.sub'),
    ]
    return {
      headers: { authorization: credentials.authorization },
      plugins: `[${plugins.join(', ')}]`,
      haproxy: {
        frontend: [
          'http-request set-var(txn.bearer) http_auth_bearer',
          "http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')",
          "http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')",
          "http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')",
          'http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }',
          'http-request deny deny_status 401 unless { var(txn.iss) -m str bench }',
          `http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"${credentials.pemFile}") 1 }`,
          'http-request set-var(txn.now) date()',
          'http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }',
          'stick-table type ip size 100k expire 2m store http_req_rate(1m)',
          'http-request track-sc0 src',
          'http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }',
        ],
        weights: [95, 5],
      },
    }
  },
}
