// Both ends of the discovery soak's traffic, in a process that does nothing else: a service that answers at every address of
// the loopback, and clients that ask again right away, or at a steady rate. Says its port, then takes orders and answers each
// with what came of it.
import { Agent, createServer, request } from 'node:http'

/**
 * @typedef {{ port: number, seconds: number, clients: number, services: number, pace: number }} Order
 * @typedef {{ failures: number, times: number[] }} Outcome times in milliseconds
 */

const server = createServer((_request, response) => response.end('ok'))
server.keepAliveTimeout = 60_000
server.listen(0, '0.0.0.0', () => {
  // @ts-expect-error: listening on a port, not a path.
  process.send?.(server.address().port)
})
process.on('disconnect', () => process.exit())
process.on('message', async order => process.send?.(await traffic(/** @type {Order} */ (order))))

/**
 * @param {Order} order
 * @returns {Promise<Outcome>}
 */
async function traffic({ port, seconds, clients, services, pace }) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients })
  /** @type {number[]} */
  const times = []
  let failures = 0
  const end = performance.now() + seconds * 1000
  /** @param {number} n */
  const client = async n => {
    for (let i = 0; performance.now() < end; i++) {
      const began = performance.now()
      const status = await ask(agent, port, `/${(n * 61 + i * 17) % services}/x`)
      if (status === 200) times.push(performance.now() - began)
      else failures++
      // Never in step with the others: twenty at once would wait for each other.
      if (pace > 0) await new Promise(done => setTimeout(done, pace * 2 * Math.random()))
    }
  }
  await Promise.all(Array.from({ length: clients }, (_, n) => client(n)))
  agent.destroy()
  return { failures, times }
}

/**
 * @param {Agent} agent
 * @param {number} port
 * @param {string} path
 * @returns {Promise<number>} the status, 0 where no whole answer came
 */
function ask(agent, port, path) {
  return new Promise(resolve => {
    const asked = request({ host: '127.0.0.1', port, path, agent, timeout: 10_000 })
    asked.on('response', response => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0))
      response.on('error', () => resolve(0))
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => resolve(0))
    asked.end()
  })
}
