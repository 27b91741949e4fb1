/** What the text of a NetworkMode means. Pure. */
import type { ContainerRecord } from './record.ts'

export type ModeKind = 'host' | 'none' | 'disabled' | 'networks' | 'container'

/** NetworkMode with `default` made explicit. */
export const modeName = (mode: string): string =>
  mode === '' || mode === 'default' ? 'bridge' : mode

export function modeKind(networkMode: string, disabled = false): ModeKind {
  if (disabled) return 'disabled'
  if (networkMode === 'host' || networkMode === 'none') return networkMode
  return networkMode.startsWith('container:') ? 'container' : 'networks'
}

export const isUserNetwork = (networkMode: string): boolean =>
  modeKind(networkMode) === 'networks' && modeName(networkMode) !== 'bridge'

export const kindOf = (record: ContainerRecord): ModeKind =>
  modeKind(record.hostConfig.NetworkMode, record.config.NetworkDisabled)
