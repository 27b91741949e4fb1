/** docker export: the whole root file system as a tar stream, without what is mounted into it. */
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { messageOf } from '../base/refusal.ts'
import { holdRootfs, releaseRootfs } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { bytesOf, newPack, packTree } from './tree.ts'

export async function exportContainer(context: Context, container: Container, sink: Writable): Promise<void> {
  // Our own mount, not /proc/PID/root: volumes and /proc are no part of it.
  const rootfs = await holdRootfs(context, container)
  try {
    const tar = newPack()
    const packed = packTree(tar, `${rootfs}/.`, '')
      .then(() => tar.finalize(), (error: unknown) => tar.destroy(new Error(messageOf(error))))
    await Promise.all([packed, pipeline(bytesOf(tar), sink)])
  } finally {
    releaseRootfs(context, container)
  }
  context.registry.tell(container, 'export')
}
