/**
 * dockerd 28.2.2 and Portolan are asked the same questions of networking at API version 1.50, and
 * after each the kernel is: links, addresses, routes, forwarding entries, sysctls, rules of the nat
 * table and the files of the container are the same, but for the differences that
 * test/parity/deliberate.ts gives reasons for. (The rules of all tables: firewall-parity.test.ts.)
 */
import test from 'node:test'
import { endpointTopic } from './parity/endpoints.ts'
import { askAll, judge } from './parity/judge.ts'
import { networkTopic } from './parity/networks.ts'
import { isHere, Panel } from './parity/panel.ts'
import { portTopic } from './parity/ports.ts'

const skip = isHere('28.2.2') ? false : 'no dockerd 28.2.2 here to ask (scripts/setup test fetches it)'

test('dockerd 28.2.2 and Portolan make the same networks', { skip }, async (t) => {
  const panel = await Panel.start(t, { versions: ['28.2.2'], api: '1.50' })
  await askAll(t, panel, [networkTopic, endpointTopic, portTopic])
  judge(t, panel, '28.2.2', 'networking')
})
