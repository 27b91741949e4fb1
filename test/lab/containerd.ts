/** A containerd of a test's own, with the image room on it; ended when the test ends. */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { EngineEvent } from '../../src/base/event.ts'
import { setLogLevel } from '../../src/base/log.ts'
import {
  connectContainerd,
  ensureNamespace,
  type Containerd,
} from '../../src/containers/containerd/client.ts'
import {
  startContainerd,
  type SupervisedContainerd,
} from '../../src/containers/containerd/supervisor.ts'
import { openImages, type Images, type ImageUser } from '../../src/containers/images/images.ts'

export interface ImageLab {
  readonly folder: string
  readonly containerd: Containerd
  readonly supervised: SupervisedContainerd
  readonly images: Images
  readonly events: EngineEvent[]
  /** Containers by the id of their image. */
  readonly users: Map<string, ImageUser[]>
  /** The image room as a new daemon finds it. */
  reopen(): Promise<Images>
}

export async function startImageLab(t: TestContext): Promise<ImageLab> {
  setLogLevel('error')
  const folder = mkdtempSync('/tmp/img-')
  const at = (name: string) => join(folder, name)
  const supervised = await startContainerd({
    root: at('root'),
    state: at('state'),
    socket: at('c.sock'),
    logPath: at('c.log'),
    pidPath: at('c.pid'),
    configPath: at('c.toml'),
  })
  const containerd = connectContainerd(at('c.sock'), 'test')
  t.after(async () => {
    containerd.close()
    await supervised.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  await ensureNamespace(containerd)
  const events: EngineEvent[] = []
  const users = new Map<string, ImageUser[]>()
  const reopen = () =>
    openImages({
      containerd,
      emit: (event) => events.push(event),
      usersOf: (imageId) => users.get(imageId) ?? [],
    })
  return { folder, containerd, supervised, images: await reopen(), events, users, reopen }
}
