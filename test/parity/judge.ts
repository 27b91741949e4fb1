/**
 * Which differences have a reason. Beside the newest engine: those of the table of deliberate ones.
 * Beside an older one: those, and wherever the newest answers as Portolan does. What the newest
 * answers otherwise than the older, and Portolan with it, is kept in `since-20.10.json`: every value
 * counts. UPDATE_PARITY=0 asks both engines and checks the file, UPDATE_PARITY=1 writes it anew.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { deliberate, explains, hasReason, type Part } from './deliberate.ts'
import type { Found, Panel } from './panel.ts'

const recordPath = join(import.meta.dirname, 'since-20.10.json')
const newest = '28.2.2'
/** Longer values are kept as a digest. */
const valueCharsMax = 160

export type Topic = (panel: Panel) => Promise<void>

/** Asks everything of these topics; PARITY_TOPIC picks some by name. */
export async function askAll(t: TestContext, panel: Panel, topics: readonly Topic[]): Promise<void> {
  const wanted = new RegExp(process.env['PARITY_TOPIC'] ?? '')
  for (const topic of topics.filter(({ name }) => wanted.test(name))) {
    const before = panel.questions
    const started = Date.now()
    await topic(panel)
    t.diagnostic(`${topic.name}: ${panel.questions - before} questions, ${Date.now() - started} ms`)
  }
}

/**
 * Fails for differences without a reason and, when all of a part was asked, for reasons without a
 * difference.
 */
export function judge(
  t: TestContext, panel: Panel, engine: Found['engine'], part?: Part,
): void {
  const found = panel.found.filter((one) => one.engine === engine)
  const others = found.filter((one) => !hasReason(one))
  const changed = engine === newest ? [] : changedSince(panel, others)
  const unexplained = others.filter((one) => !changed.includes(one))
  const reasons = new Set(found.flatMap((one) => deliberate.find((entry) => explains(entry, one))?.why ?? []))
  t.diagnostic(`${panel.questions} questions at API ${panel.api}; ${found.length} differences from ` +
    `dockerd ${engine}: ${found.length - others.length} deliberate, for ${reasons.size} reasons, ` +
    `${changed.length} changed since, ${unexplained.length} without a reason`)
  const dump = process.env['PARITY_DUMP']
  if (dump !== undefined) writeFileSync(`${dump}.${engine}`, JSON.stringify(unexplained, null, 1))
  assert.equal(unexplained.map(line).join('\n'), '', 'differences without a reason')
  if (process.env['PARITY_TOPIC'] !== undefined) return
  if (engine !== newest && panel.versions.includes(newest)) checkRecord(changed.map(row))
  if (part === undefined) return
  const stale = deliberate.filter((entry) =>
    (entry.part === part || (entry.part === undefined && part !== 'older')) &&
    !found.some((one) => explains(entry, one)))
  assert.deepEqual(stale.map(({ why, at }) => `${at}: ${why}`), [], 'differences that are gone')
}

/** Those in which Portolan answers as the newest engine does, by asking that or by the record. */
function changedSince(panel: Panel, found: readonly Found[]): readonly Found[] {
  if (!panel.versions.includes(newest)) {
    const known = new Set(readRecord())
    return found.filter((one) => known.has(row(one)))
  }
  const differing = new Map<string, string[]>()
  for (const { engine, question, at } of panel.found) {
    if (engine === newest) differing.set(question, [...(differing.get(question) ?? []), at])
  }
  const changed = found.filter(({ question, at }) =>
    !(differing.get(question) ?? []).some((other) => overlap(at, other)))
  return changed
}

/** Whether one path is the other or leads to it. */
function overlap(one: string, other: string): boolean {
  const [short, long] = one.length < other.length ? [one, other] : [other, one]
  return long.startsWith(short) && (short === '' || ['', '.', '['].includes(long.charAt(short.length)))
}

/** What changed, without the question: where, and both values. */
function row({ at, docker, portolan }: Found): string {
  const where = at.replaceAll(/\[\d+\]/g, '[]').replaceAll(/Networks\.\w+/g, 'Networks.*')
  return `${where}: ${said(docker)} → ${said(portolan)}`
}

function said(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  if (text.length <= valueCharsMax) return text
  return `${text.slice(0, 40)}… ${createHash('sha256').update(text).digest('hex').slice(0, 12)}`
}

function readRecord(): readonly string[] {
  const rows: unknown = JSON.parse(readFileSync(recordPath, 'utf8'))
  assert.ok(Array.isArray(rows))
  return rows.map(String)
}

function checkRecord(rows: readonly string[]): void {
  const seen = [...new Set(rows)].sort()
  if (process.env['UPDATE_PARITY'] === '1') {
    writeFileSync(recordPath, `${JSON.stringify(seen, null, 1)}\n`)
  }
  assert.deepEqual(readRecord(), seen, 'what changed since 20.10 (UPDATE_PARITY=1 writes it anew)')
}

/** One difference as a reader of a failed test needs it. */
function line({ question, at, docker, portolan }: Found): string {
  const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 300) ?? 'nothing'
  return `${question}: ${at}\n    dockerd:  ${shown(docker)}\n    portolan: ${shown(portolan)}`
}
