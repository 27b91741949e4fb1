/**
 * An image `busybox:latest` as a `docker save` tar, from the machine's own static busybox.
 *
 * Same bytes for the same busybox: times are zero, names are sorted. For demos and tests where no
 * registry can be reached. Limit: for the machine's own architecture only.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { arch } from 'node:os'
import { Readable } from 'node:stream'
import { pack, type Pack } from 'tar-stream'

const epoch = new Date(0)
const folders = ['bin', 'dev', 'etc', 'home', 'proc', 'root', 'sys', 'usr', 'usr/bin', 'usr/sbin', 'sbin', 'var', 'var/spool']
const files: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n',
  'etc/group': 'root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nnobody:x:65534:\n',
  'etc/nsswitch.conf': 'hosts: files dns\n',
}

/**
 * @param busybox path of a statically linked busybox
 * @param tags names of the image
 * @param command its Cmd
 */
export async function busyboxImageTar(
  busybox: string,
  tags: readonly string[] = ['busybox:latest'],
  command: readonly string[] = ['sh'],
  exposed: readonly string[] = [],
): Promise<Readable> {
  const layer = await layerOf(busybox)
  const diffId = `sha256:${sha256(layer)}`
  const config = JSON.stringify({
    architecture: arch() === 'x64' ? 'amd64' : arch(),
    os: 'linux',
    created: epoch.toISOString(),
    config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: command,
      ...(exposed.length === 0 ? {} : { ExposedPorts: Object.fromEntries(exposed.map((port) => [port, {}])) }) },
    history: [{ created: epoch.toISOString(), created_by: 'busybox-static', comment: 'the static busybox of this machine' }],
    rootfs: { type: 'layers', diff_ids: [diffId] },
  })
  const configName = `${sha256(config)}.json`
  const tar = pack()
  tar.entry({ name: configName, mtime: epoch }, config)
  tar.entry({ name: 'layer/layer.tar', mtime: epoch }, layer)
  tar.entry({ name: 'manifest.json', mtime: epoch },
    JSON.stringify([{ Config: configName, RepoTags: tags, Layers: ['layer/layer.tar'] }]))
  tar.finalize()
  return Readable.from([await bytesOf(tar)])
}

async function layerOf(busybox: string): Promise<Buffer> {
  const tar = pack()
  for (const name of folders) {
    tar.entry({ name, type: 'directory', mode: name === 'root' ? 0o700 : 0o755, mtime: epoch })
  }
  tar.entry({ name: 'tmp', type: 'directory', mode: 0o1777, mtime: epoch })
  tar.entry({ name: 'bin/busybox', mode: 0o755, mtime: epoch }, readFileSync(busybox))
  const listed = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n')
  for (const applet of listed.filter((name) => name !== '' && name !== 'busybox').sort()) {
    tar.entry({ name: `bin/${applet}`, type: 'symlink', linkname: '/bin/busybox', mtime: epoch })
  }
  for (const [name, text] of Object.entries(files)) tar.entry({ name, mode: 0o644, mtime: epoch }, text)
  tar.finalize()
  return bytesOf(tar)
}

async function bytesOf(tar: Pack): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  tar.on('data', (chunk) => {
    if (chunk instanceof Uint8Array) chunks.push(chunk)
  })
  await once(tar, 'end')
  return Buffer.concat(chunks)
}

function sha256(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex')
}
