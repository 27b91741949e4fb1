/**
 * dockerd 20.10 and Portolan are asked the same questions at API version 1.41. Where they differ,
 * dockerd 28.2.2 answers as Portolan does, at the same API version: it is asked, too, where it is
 * here, else its recorded answers count.
 */
import test from 'node:test'
import { containerTopic } from './parity/containers.ts'
import { errorTopic } from './parity/errors.ts'
import { askAll, judge } from './parity/judge.ts'
import { networkTopic } from './parity/networks.ts'
import { isHere, Panel, type EngineVersion } from './parity/panel.ts'
import { runningTopic } from './parity/running.ts'
import { imageTopic, systemTopic, verbTopic, volumeTopic } from './parity/verbs.ts'

const skip = isHere('20.10') ? false : 'no dockerd here to ask (package docker.io)'
const versions: readonly EngineVersion[] = isHere('28.2.2') ? ['20.10', '28.2.2'] : ['20.10']

test('what differs from dockerd 20.10 has changed since', { skip }, async (t) => {
  const panel = await Panel.start(t, { versions, api: '1.41' })
  await askAll(t, panel, [
    networkTopic, containerTopic, runningTopic, errorTopic, imageTopic, volumeTopic, verbTopic,
    systemTopic,
  ])
  judge(t, panel, '20.10', 'older')
  if (versions.includes('28.2.2')) judge(t, panel, '28.2.2')
})
