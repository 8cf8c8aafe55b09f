// sunset: tells the callers of an old API when it ends (RFC 8594), and ends it then.
import { checkAttribute, compileCondition, definePlugin, z } from 'sluice'

const options = z.strictObject({
  date: z.iso.date().describe('Last day of the API, in UTC.'),
  link: z.url().describe('Page that says where to go instead.'),
  except: z.record(z.string(), z.string()).optional().describe('Who may go on: attributes that must all hold.'),
})

export default definePlugin({
  name: 'sunset',
  description: 'Announces the end of an API, and answers 410 after it.',
  options,
  check({ except }) {
    checkAttribute(['except'], () => compileCondition(except ?? {}))
  },
  create({ date, link, except }, context) {
    const end = Date.parse(`${date}T23:59:59Z`)
    const sunset = new Date(end).toUTCString()
    const exempt = except === undefined ? () => false : compileCondition(except)
    const late = context.slot<boolean>()
    return {
      onRequest(x) {
        if (Date.now() <= end) return
        if (exempt(x)) late.set(x, true)
        else return { status: 410, headers: ['content-type', 'text/plain'], body: `This API ended on ${date}.\n` }
      },
      onResponse(x) {
        x.setResponseHeader('sunset', sunset)
        x.addResponseHeader('link', `<${link}>; rel="sunset"`)
      },
      onFinish(x) {
        if (late.get(x)) context.log('warn', 'called after its end', { client: x.clientIp, requestId: x.requestId })
      },
    }
  },
})
