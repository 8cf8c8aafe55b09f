// Whether a token's signature is that of one of these keys: the one place where jose is asked.
import { compactVerify, errors } from 'jose'
import type { CompactToken } from './compact.ts'
import type { Key } from './keys.ts'

/**
 * The key that signed the token, or null. `keys` fit the token's algorithm (KeyRing.find), so that the token never
 * chooses how a key is used. Rejects only on what is no doing of the token's.
 */
export async function signer(token: CompactToken, keys: readonly Key[]): Promise<Key | null> {
  for (const key of keys) {
    try {
      await compactVerify(token.text, key.material, { algorithms: [token.alg] })
      return key
    } catch (error) {
      if (!(error instanceof errors.JOSEError) && !(error instanceof TypeError)) throw error
    }
  }
  return null
}
