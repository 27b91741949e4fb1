/** Whose hosts, hostname and resolv.conf a container sees: its own, or those of its donor. */
import { modeKind } from './network-mode.ts'
import { containerPaths, type ContainerPaths } from './paths.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

export function donorPaths(context: Context, container: Container): ContainerPaths {
  const { NetworkMode } = container.record.hostConfig
  const donor =
    modeKind(NetworkMode) === 'container'
      ? context.registry.get(NetworkMode.slice('container:'.length))
      : undefined
  return containerPaths(context.config, donor?.id ?? container.id)
}
