/**
 * Where two documents differ, by path. Lists of the same length are compared item by item, others
 * as a whole; order of keys says nothing.
 */

export interface Difference {
  /** `body.HostConfig.Init`; '' for the whole. */
  readonly at: string
  readonly docker: unknown
  readonly portolan: unknown
}

export function differences(docker: unknown, portolan: unknown, at = ''): Difference[] {
  if (Object.is(docker, portolan)) return []
  if (Array.isArray(docker) && Array.isArray(portolan)) {
    if (docker.length !== portolan.length) return [{ at, docker, portolan }]
    return docker.flatMap((item, index) => differences(item, portolan[index], `${at}[${index}]`))
  }
  if (isRecord(docker) && isRecord(portolan)) {
    const keys = new Set([...Object.keys(docker), ...Object.keys(portolan)])
    return [...keys].sort().flatMap((key) =>
      differences(docker[key], portolan[key], at === '' ? key : `${at}.${key}`))
  }
  return [{ at, docker, portolan }]
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
