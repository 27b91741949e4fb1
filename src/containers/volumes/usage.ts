/** How much a folder holds: bytes of files, each inode once, not crossing into other mounts. */
import type { Stats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** Bytes below `folder`; 0 when it is not there. What vanishes meanwhile counts nothing. */
export async function folderBytes(folder: string): Promise<number> {
  const root = await lstat(folder).catch(() => undefined)
  if (root === undefined) return 0
  const seen = new Set<number>()
  const waiting = [folder]
  let bytes = 0
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const entries = await readdir(next, { withFileTypes: true }).catch(() => [])
    for (const entry of entries) {
      const path = join(next, entry.name)
      const stat: Stats | undefined = await lstat(path).catch(() => undefined)
      if (stat === undefined || stat.dev !== root.dev) continue
      if (stat.isDirectory()) waiting.push(path)
      else if (stat.nlink < 2 || !seen.has(stat.ino)) bytes += stat.size
      if (stat.nlink > 1) seen.add(stat.ino)
    }
  }
  return bytes
}
