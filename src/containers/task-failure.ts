/**
 * Why a call about a container's process failed. It may end at any moment, and runc and its shim
 * then fail in a dozen ways; so the process is looked at, not their words.
 */
import { Refusal, messageOf } from '../base/refusal.ts'
import { hasExited } from '../kernel/process.ts'
import { isNotFound } from './containerd/client.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'

/** The shim ends with its container, and containerd ends a container that has lost its shim. */
const shimGone = /ttrpc: (closed|server shutting down)/

/** Whether the process has ended, or is ending, though nobody has been told of its exit yet. */
export function endedMeanwhile({ record: { state } }: Container, error: unknown): boolean {
  if (!hasProcess(state.status) || isNotFound(error)) return true
  return hasExited(state.pid) || shimGone.test(messageOf(error))
}

export function notRunning({ id }: Container, cause?: unknown): Refusal {
  return new Refusal('conflict', `container ${id} is not running`, { cause })
}

/** @param attempt what could not be done, as in `cannot pause container 123` */
export function taskFailure(container: Container, error: unknown, attempt: string): Refusal {
  if (error instanceof Refusal) return error
  if (endedMeanwhile(container, error)) return notRunning(container, error)
  return new Refusal('internal', `${attempt}: ${messageOf(error)}`, { cause: error })
}
