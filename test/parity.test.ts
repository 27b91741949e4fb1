/**
 * dockerd 28.2.2 and Portolan are asked the same questions at API version 1.50, of everything but
 * networking: status, JSON, the headers that count and events are the same, but for the
 * differences that test/parity/deliberate.ts gives reasons for.
 */
import test from 'node:test'
import { containerTopic } from './parity/containers.ts'
import { errorTopic } from './parity/errors.ts'
import { eventTopic } from './parity/events.ts'
import { fieldTopic } from './parity/fields.ts'
import { httpTopic } from './parity/http.ts'
import { askAll, judge } from './parity/judge.ts'
import { isHere, Panel } from './parity/panel.ts'
import { runningTopic } from './parity/running.ts'
import { imageTopic, systemTopic, verbTopic, volumeTopic } from './parity/verbs.ts'

const skip = isHere('28.2.2') ? false : 'no dockerd 28.2.2 here to ask (scripts/setup test fetches it)'

test('dockerd 28.2.2 and Portolan give the same answers to the same questions', { skip }, async (t) => {
  const panel = await Panel.start(t, { versions: ['28.2.2'], api: '1.50' })
  await askAll(t, panel, [
    containerTopic, fieldTopic, runningTopic, errorTopic, imageTopic, volumeTopic, verbTopic,
    eventTopic, httpTopic, systemTopic,
  ])
  judge(t, panel, '28.2.2', 'engine')
})
