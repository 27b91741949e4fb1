/**
 * Where a container's cgroup is. By the cgroupfs driver `/<parent>/<id>`; by the systemd driver a
 * scope below a slice, made by systemd for the runtime: `/a.slice/a-b.slice/docker-<id>.scope`.
 */
import { Refusal } from '../base/refusal.ts'

/** What of a container's record counts here. */
export interface Placed {
  readonly id: string
  readonly hostConfig: { readonly CgroupParent: string }
}

export interface CgroupChoice {
  /** Below each cgroup controller; a slice with the systemd driver. '' for the driver's own. */
  readonly cgroupParent: string
  readonly systemdCgroup: boolean
}

const scopePrefix = 'docker'

function parentOf(record: Placed, { cgroupParent, systemdCgroup }: CgroupChoice): string {
  return record.hostConfig.CgroupParent || cgroupParent || (systemdCgroup ? 'system.slice' : 'docker')
}

/** Below the mount point of each tree. */
export function cgroupsPathOf(record: Placed, choice: CgroupChoice): string {
  const parent = parentOf(record, choice)
  if (!choice.systemdCgroup) return `/${parent}/${record.id}`.replace(/\/+/g, '/')
  return `${sliceFolder(parent)}/${scopePrefix}-${record.id}.scope`
}

/** What the runtime is told. */
export function runtimeCgroupsPath(record: Placed, choice: CgroupChoice): string {
  if (!choice.systemdCgroup) return cgroupsPathOf(record, choice)
  return `${parentOf(record, choice)}:${scopePrefix}:${record.id}`
}

/** `a-b.slice` lies in `a.slice`; `-.slice` is the root. */
function sliceFolder(slice: string): string {
  const parts = slice.replace(/\.slice$/, '').split('-').filter((part) => part !== '')
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('')
}

/** systemd makes slices only; a path is not one. */
export function checkCgroupParent(parent: string, systemdCgroup: boolean): void {
  if (!systemdCgroup || parent === '' || /^.+\.slice$/.test(parent)) return
  throw new Refusal(
    'invalid',
    'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"',
  )
}
