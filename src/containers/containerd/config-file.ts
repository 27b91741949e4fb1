/**
 * The configuration of the containerd that we start: its own root and socket, and no plugin that
 * listens, restarts containers or writes outside its root.
 *
 * containerd 1.6 and 1.7 read version 2 of the format, 2.x reads version 3 (and warns about 2).
 */

export interface ContainerdPaths {
  /** Absolute; images, snapshots and metadata. */
  readonly root: string
  /** Absolute; what does not outlive a reboot. */
  readonly state: string
  readonly socket: string
}

/** Plugins by their names in 1.6 to 2.x; a name that a version lacks is no error. */
const unwanted = [
  'io.containerd.grpc.v1.cri',
  'io.containerd.cri.v1.images',
  'io.containerd.cri.v1.runtime',
  'io.containerd.nri.v1.nri',
  'io.containerd.internal.v1.restart',
  'io.containerd.monitor.container.v1.restart',
  'io.containerd.tracing.processor.v1.otlp',
  'io.containerd.internal.v1.tracing',
  'io.containerd.snapshotter.v1.aufs',
  'io.containerd.snapshotter.v1.blockfile',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.zfs',
]

/** The major version in the output of `containerd --version`; 1 when it cannot be read. */
export function majorVersion(output: string): number {
  const match = /\bv?(\d+)\.\d+\.\d+/.exec(output)
  return match?.[1] === undefined ? 1 : Number(match[1])
}

/** The file's text, in TOML. */
export function containerdConfig(paths: ContainerdPaths, major: number): string {
  // A JSON string is a TOML basic string too.
  const quoted = (text: string): string => JSON.stringify(text)
  return [
    '# Written by Portolan at every start of its containerd; changes here are lost.',
    `version = ${major >= 2 ? 3 : 2}`,
    `root = ${quoted(paths.root)}`,
    `state = ${quoted(paths.state)}`,
    `disabled_plugins = [${unwanted.map(quoted).join(', ')}]`,
    '',
    '[grpc]',
    `  address = ${quoted(paths.socket)}`,
    '',
    '[debug]',
    '  level = "warn"',
    '',
    '[metrics]',
    '  address = ""',
    '',
    '[plugins."io.containerd.internal.v1.opt"]',
    `  path = ${quoted(`${paths.root}/opt`)}`,
    '',
  ].join('\n')
}
