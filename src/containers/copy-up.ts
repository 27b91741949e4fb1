/**
 * What a new, empty volume takes over from the image: the content of the folder that it covers,
 * with owners, modes, times and links.
 */
import { execFile } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, readdirSync, utimesSync } from 'node:fs'
import { promisify } from 'node:util'
import type { MountPoint } from './record.ts'
import { makeFolders, withPlace } from './rooted-path.ts'
import type { Root } from './rooted-path.ts'

const run = promisify(execFile)

/** Copies into each volume that is empty; makes the mount point inside. */
export async function populateVolumes(root: Root, points: readonly MountPoint[]): Promise<void> {
  for (const point of points) {
    makeFolders(root, point.Destination)
    if (point.subpath !== '' || readdirSync(point.Source).length > 0) continue
    const source = withPlace(root, point.Destination, true, (place) => ({
      stat: lstatSync(place.path),
      inside: place.inside,
      isEmpty: isEmptyFolder(place.path),
    }))
    if (!source.stat.isDirectory()) continue
    if (!source.isEmpty) {
      // The container has not been started: nothing can change the path meanwhile.
      await run('cp', ['-a', '--', `${root.path}${source.inside}/.`, point.Source])
    }
    chownSync(point.Source, source.stat.uid, source.stat.gid)
    chmodSync(point.Source, source.stat.mode & 0o7777)
    utimesSync(point.Source, source.stat.atime, source.stat.mtime)
  }
}

function isEmptyFolder(path: string): boolean {
  return lstatSync(path).isDirectory() && readdirSync(path).length === 0
}
