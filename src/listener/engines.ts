// The engines by the name they have in the YAML; one that is not asked for is not loaded.
import type { Engine, ListenerOptions } from './listener.ts'
import { nativeEngine } from './native.ts'

/** The engine of that name. Rejects with an Error that says what to install where its library cannot be had. */
export async function loadEngine(name: ListenerOptions['engine']): Promise<Engine> {
  if (name === 'native') return nativeEngine
  const { uwsEngine } = await import('./uws.ts')
  return uwsEngine
}
