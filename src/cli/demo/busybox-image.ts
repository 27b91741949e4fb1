/**
 * An image `busybox:latest` as a `docker save` tar, from the machine's own static busybox.
 *
 * Same bytes for the same busybox: times are zero, names are sorted. For demos and tests where no
 * registry can be reached. Limit: for the machine's own architecture only.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { arch } from 'node:os'
import { Readable } from 'node:stream'
import { encodeEntry, encodeFile, endOfArchive, entryNamed } from '../../base/tar/header.ts'

const epoch = new Date(0).toISOString()
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
  const layer = layerOf(busybox)
  const diffId = `sha256:${sha256(layer)}`
  const config = JSON.stringify({
    architecture: arch() === 'x64' ? 'amd64' : arch(),
    os: 'linux',
    created: epoch,
    config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: command,
      ...(exposed.length === 0 ? {} : { ExposedPorts: Object.fromEntries(exposed.map((port) => [port, {}])) }) },
    history: [{ created: epoch, created_by: 'busybox-static', comment: 'the static busybox of this machine' }],
    rootfs: { type: 'layers', diff_ids: [diffId] },
  })
  const configName = `${sha256(config)}.json`
  const manifest = [{ Config: configName, RepoTags: tags, Layers: ['layer/layer.tar'] }]
  return Readable.from([Buffer.concat([
    encodeFile(configName, Buffer.from(config)),
    encodeFile('layer/layer.tar', layer),
    encodeFile('manifest.json', Buffer.from(JSON.stringify(manifest))),
    endOfArchive,
  ])])
}

function layerOf(busybox: string): Buffer {
  const listed = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n')
  const applets = listed.filter((name) => name !== '' && name !== 'busybox').sort()
  const folder = (name: string, mode: number) =>
    encodeEntry(entryNamed(`${name}/`, { kind: 'folder', mode }))
  const target = Buffer.from('/bin/busybox')
  return Buffer.concat([
    ...folders.map((name) => folder(name, name === 'root' ? 0o700 : 0o755)),
    folder('tmp', 0o1777),
    encodeFile('bin/busybox', readFileSync(busybox), 0o755),
    ...applets.map((name) => encodeEntry(entryNamed(`bin/${name}`, { kind: 'symlink', mode: 0o777, target }))),
    ...Object.entries(files).map(([name, text]) => encodeFile(name, Buffer.from(text))),
    endOfArchive,
  ])
}

function sha256(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex')
}
