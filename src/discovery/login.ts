// One login for all services of a registry: hundreds at once keep a registry busy with passwords, which are dear to check.
import { abortable } from './abortable.ts'

/** A login under way, and the signal of whoever began it. */
interface Running {
  readonly done: Promise<string>
  readonly begunFor: AbortSignal
}

/** See the head of this file. */
export class SharedLogin {
  #running: Running | null = null

  /**
   * The token of the login that is under way, or of `login`, called with the signal. Rejects as the login does, for all who
   * wait for it; but where whoever began it gave up, one of the others begins anew.
   */
  async token(login: (signal: AbortSignal) => Promise<string>, signal: AbortSignal): Promise<string> {
    for (;;) {
      const running = this.#running ?? this.#begin(login, signal)
      try {
        return await abortable(running.done, signal)
      } catch (error) {
        if (signal.aborted || !running.begunFor.aborted) throw error
      }
    }
  }

  #begin(login: (signal: AbortSignal) => Promise<string>, begunFor: AbortSignal): Running {
    const done = login(begunFor).finally(() => {
      this.#running = null
    })
    this.#running = { done, begunFor }
    return this.#running
  }
}
