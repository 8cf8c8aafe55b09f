// x
import type { Test } from 'tap'
import type { Traits } from './engines.ts'
export async function failures(_t: Test, _engine: Traits): Promise<void> {}
