/**
 * Where the daemon's files are.
 *
 *     DATA-ROOT/portolan.db     desired state         DATA-ROOT/containers  logs, hosts files
 *     DATA-ROOT/containerd      images and layers     DATA-ROOT/volumes
 *     EXEC-ROOT/netns           network namespaces    EXEC-ROOT/io          FIFOs
 *     EXEC-ROOT/k.sock          keeper                EXEC-ROOT/c.sock      containerd
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { ContainerdFiles } from '../containers/containerd/supervisor.ts'
import type { KeeperPaths } from '../keeper/launch.ts'

export interface Layout {
  readonly dataRoot: string
  readonly execRoot: string
  readonly store: string
  readonly netns: string
  readonly lock: string
  readonly execLock: string
  readonly keeper: KeeperPaths
  readonly containerd: ContainerdFiles
}

/** containerd and the keeper put a suffix behind their sockets; sun_path has 108 bytes in all. */
const socketPathBytesMax = 90

export function layoutOf(dataRoot: string, execRoot: string): Layout {
  // A long exec-root gets a short stand-in for its sockets, the same one at every start.
  const tooLong = Buffer.byteLength(join(execRoot, 'k.sock')) > socketPathBytesMax
  const digest = createHash('sha256').update(execRoot).digest('hex').slice(0, 12)
  const sockets = tooLong ? join('/run/portolan-sockets', digest) : execRoot
  return {
    dataRoot,
    execRoot,
    store: join(dataRoot, 'portolan.db'),
    netns: join(execRoot, 'netns'),
    lock: join(dataRoot, 'daemon.lock'),
    execLock: join(execRoot, 'daemon.lock'),
    keeper: {
      socketPath: join(sockets, 'k.sock'),
      pidPath: join(execRoot, 'keeper.pid'),
      logPath: join(execRoot, 'keeper.log'),
    },
    containerd: {
      root: join(dataRoot, 'containerd'),
      state: join(execRoot, 'containerd'),
      socket: join(sockets, 'c.sock'),
      pidPath: join(execRoot, 'containerd.pid'),
      logPath: join(execRoot, 'containerd.log'),
      configPath: join(execRoot, 'containerd.toml'),
    },
  }
}
