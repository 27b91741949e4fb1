/** What the process needs before any room does anything. */
import { chmodSync, mkdirSync } from 'node:fs'
import { makeShared } from '../kernel/mount.ts'
import { homeNetns, warmThreads } from '../kernel/netns.ts'
import type { Layout } from './layout.ts'

/** Folders, and threads that must exist before the first entry into a namespace. */
export async function prepareProcess(layout: Layout): Promise<void> {
  mkdirSync(layout.dataRoot, { recursive: true, mode: 0o710 })
  mkdirSync(layout.netns, { recursive: true, mode: 0o711 })
  chmodSync(layout.execRoot, 0o711) // the socket's group passes through, nobody reads it
  await warmThreads()
  homeNetns()
  // Runtimes and tools in other mount namespaces see namespaces that are bound here later.
  makeShared(layout.netns)
}
