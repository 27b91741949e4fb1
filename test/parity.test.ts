/**
 * dockerd 20.10 and Portolan are asked the same questions at API version 1.41: status, JSON and
 * kernel state are the same, but for the differences that test/parity/known.ts gives reasons for.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import test from 'node:test'
import { dockerdPath } from './lab/lab.ts'
import { containerTopic } from './parity/containers.ts'
import { errorTopic } from './parity/errors.ts'
import { explains, isNewerAnswer, known } from './parity/known.ts'
import { networkTopic } from './parity/networks.ts'
import { Pair, type Found } from './parity/pair.ts'
import { runningTopic } from './parity/running.ts'
import { newerAnswers } from './parity/sentences.ts'
import { imageTopic, systemTopic, verbTopic, volumeTopic } from './parity/verbs.ts'

const skip = dockerdPath() === undefined ? 'no dockerd here to ask (package docker.io)' : false

const topics = [
  networkTopic, containerTopic, runningTopic, errorTopic, imageTopic, volumeTopic, verbTopic,
  systemTopic,
]

test('dockerd and Portolan give the same answers to the same questions', { skip }, async (t) => {
  const pair = await Pair.start(t)
  const wanted = process.env['PARITY_TOPIC']
  for (const topic of topics) {
    if (wanted !== undefined && !new RegExp(wanted).test(topic.name)) continue
    const before = pair.questions
    const started = Date.now()
    await topic(pair)
    t.diagnostic(`${topic.name}: ${pair.questions - before} questions, ${Date.now() - started} ms`)
  }
  const unexplained = pair.found.filter((found) =>
    !isNewerAnswer(found) && !known.some((entry) => explains(entry, found)))
  const stale = known.filter((entry) => !pair.found.some((found) => explains(entry, found)))
  const answered = new Set(pair.found.filter(isNewerAnswer).map(({ question }) => question))
  const gone = Object.keys(newerAnswers).filter((question) => !answered.has(`error: ${question}`))
  const meant = pair.found.length - unexplained.length
  t.diagnostic(`${pair.questions} questions, ${meant} differences with a reason in ` +
    `${known.length + answered.size} kinds, ${unexplained.length} without`)
  const dump = process.env['PARITY_DUMP']
  if (dump !== undefined) writeFileSync(dump, JSON.stringify(unexplained, null, 1))
  assert.equal(unexplained.map(line).join('\n'), '', 'differences without a reason')
  assert.deepEqual(gone, [], 'answers that are the same again')
  assert.deepEqual(stale.map((entry) => `${entry.at}: ${entry.why}`), [], 'differences that are gone')
})

/** One difference as a reader of a failed test needs it. */
function line({ question, at, docker, portolan }: Found): string {
  const said = (value: unknown) => JSON.stringify(value)?.slice(0, 300) ?? 'nothing'
  return `${question}: ${at}\n    dockerd:  ${said(docker)}\n    portolan: ${said(portolan)}`
}
