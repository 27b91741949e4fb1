/**
 * What a new, empty volume takes over from the image: the content of the folder that it covers,
 * with owners, modes, times and links.
 */
import { execFile } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, readdirSync, utimesSync } from 'node:fs'
import { promisify } from 'node:util'
import { errorCode } from '../base/error-code.ts'
import type { MountPoint } from './record.ts'
import { fileError, withPlace } from './rooted-path.ts'
import type { Root } from './rooted-path.ts'

const run = promisify(execFile)

/** Copies into each volume that is empty what the image has there, if it has a folder there. */
export async function populateVolumes(root: Root, points: readonly MountPoint[]): Promise<void> {
  for (const point of points) {
    const source = folderAt(root, point.Destination)
    if (source === undefined) continue
    if (point.subpath !== '' || readdirSync(point.Source).length > 0) continue
    if (!source.isEmpty) {
      // The container has not been started: nothing can change the path meanwhile.
      await run('cp', ['-a', '--', `${root.path}${source.inside}/.`, point.Source])
    }
    chownSync(point.Source, source.stat.uid, source.stat.gid)
    chmodSync(point.Source, source.stat.mode & 0o7777)
    utimesSync(point.Source, source.stat.atime, source.stat.mtime)
  }
}

/** Undefined where nothing is, as in most images. */
function folderAt(root: Root, destination: string) {
  try {
    return withPlace(root, destination, true, ({ path, inside, exists }) => {
      if (!exists) return undefined
      const stat = lstatSync(path)
      if (!stat.isDirectory()) throw fileError('ENOTDIR', `not a directory: ${destination}`)
      return { stat, inside, isEmpty: readdirSync(path).length === 0 }
    })
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
