/** docker export: the whole root file system as a tar stream, without what is mounted into it. */
import type { Writable } from 'node:stream'
import { holdRootfs, releaseRootfs } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { packTree, sendTar } from './tree.ts'

/** @param ready called before the first byte, when nothing can be refused any more */
export async function exportContainer(
  context: Context,
  container: Container,
  ready: () => Writable,
): Promise<void> {
  // Our own mount, not /proc/PID/root: volumes and /proc are no part of it.
  const rootfs = await holdRootfs(context, container)
  try {
    await sendTar(ready(), packTree(`${rootfs}/.`, ''))
  } finally {
    releaseRootfs(context, container)
  }
  context.registry.tell(container, 'export')
}
