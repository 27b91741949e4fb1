/** Signals by name or number, as clients write them: KILL, SIGTERM, 9, SIGRTMIN+3. */
import { constants } from 'node:os'
import { Refusal } from '../base/refusal.ts'

const realtimeMin = 34
const realtimeMax = 64

/** Refuses what is none in Docker's words. */
export function signalNumber(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text)
    if (number < 1) throw new Refusal('invalid', `invalid signal: ${text}`)
    if (number > realtimeMax) {
      throw new Refusal('invalid', `the linux daemon does not support signal ${number}`)
    }
    return number
  }
  const name = text.toUpperCase().replace(/^(SIG)?/, 'SIG')
  const realtime = /^SIGRT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name)
  if (realtime !== null) {
    const base = realtime[1] === 'MIN' ? realtimeMin : realtimeMax
    const offset = Number(realtime[3] ?? 0) * (realtime[2] === '-' ? -1 : 1)
    const number = base + offset
    if (number >= realtimeMin && number <= realtimeMax) return number
  }
  const found = Object.entries(constants.signals).find(([known]) => known === name)
  if (found === undefined) throw new Refusal('invalid', `invalid signal: ${text}`)
  return found[1]
}

export const SIGKILL = 9
export const SIGTERM = 15

/** The signal that asks a container to end. */
export function stopSignalOf(stopSignal: string): number {
  return stopSignal === '' ? SIGTERM : signalNumber(stopSignal)
}
