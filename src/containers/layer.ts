/**
 * What a container has changed, as a layer of an image: an archive of what is new or different,
 * with whiteouts for what is gone. What the engine itself put into the root is no part of it.
 */
import { lstatSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path/posix'
import { errorCode } from '../base/error-code.ts'
import { deleted, layerChanges, type Layers } from './changes.ts'
import { encodeEntry, endOfArchive, entryNamed, type TarEntry } from '../base/tar/header.ts'
import { packEntry, type Links } from './tree.ts'

const parameters = '/sys/module/overlay/parameters'

/** Whether folders or contents may be elsewhere than their names say: then only a mount shows them. */
export function layersAreIndirect(): boolean {
  return ['redirect_dir', 'metacopy'].some((name) => isOn(join(parameters, name)))
}

function isOn(path: string): boolean {
  try {
    return readFileSync(path, 'utf8').trim() === 'Y'
  } catch (error) {
    // A kernel that lacks the parameter lacks the feature.
    if (errorCode(error) === 'ENOENT') return false
    throw error
  }
}

export async function* packLayer(layers: Layers): AsyncGenerator<Buffer> {
  const links: Links = new Map()
  for (const { path, kind } of layerChanges(layers)) {
    const name = path.subarray(1)
    if (kind === deleted) {
      yield encodeEntry(whiteoutOf(name))
      continue
    }
    const file = Buffer.concat([Buffer.from(layers.upper), path])
    const stat = lstatSync(file, { bigint: false, throwIfNoEntry: false })
    if (stat !== undefined) yield* packEntry(file, name, stat, links)
  }
  yield endOfArchive
}

function whiteoutOf(name: Buffer): TarEntry {
  // One byte is one character here, whatever it means.
  const path = name.toString('latin1')
  return entryNamed('', {
    name: Buffer.from(join(dirname(path), `.wh.${basename(path)}`), 'latin1'),
    mode: 0o600,
    mtime: Math.floor(Date.now() / 1000),
  })
}
