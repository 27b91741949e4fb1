/**
 * dockerd 20.10 and Portolan are asked the same questions at API version 1.41. Where they differ,
 * dockerd 28.2.2 answers as Portolan does, at the same API version: its recorded answers count, and
 * with UPDATE_PARITY it is asked itself.
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
/** The record of what the newest says instead is made, and compared, by asking that, too. */
const withNewest = process.env['UPDATE_PARITY'] !== undefined && isHere('28.2.2')
const versions: readonly EngineVersion[] = withNewest ? ['20.10', '28.2.2'] : ['20.10']

test('what differs from dockerd 20.10 has changed since', { skip }, async (t) => {
  const panel = await Panel.start(t, { versions, api: '1.41' })
  await askAll(t, panel, [
    networkTopic, containerTopic, runningTopic, errorTopic, imageTopic, volumeTopic, verbTopic,
    systemTopic,
  ])
  judge(t, panel, '20.10', 'older')
  if (withNewest) judge(t, panel, '28.2.2')
})
