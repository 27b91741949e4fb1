/** Lines of progress, in the words that clients show and compare. */

export interface Progress {
  readonly status: string
  /** The short id of a layer, or the tag. */
  readonly id?: string
  readonly progressDetail?: { readonly current?: number; readonly total?: number }
  readonly aux?: Readonly<Record<string, string | number>>
}

export type Report = (line: Progress) => void

/** More often than this nobody can read it, and every line costs a write. */
const intervalMs = 100

/** How clients tell layers apart. */
export function layerId(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1, digest.indexOf(':') + 13)
}

/** Bytes as they pass, reported now and then. */
export async function* counted(
  source: AsyncIterable<Uint8Array>,
  begin: number,
  total: number,
  report: (current: number, total: number) => void,
): AsyncGenerator<Uint8Array> {
  let current = begin
  let reportedAt = 0
  for await (const piece of source) {
    current += piece.length
    const now = Date.now()
    if (now - reportedAt >= intervalMs) {
      reportedAt = now
      report(current, total)
    }
    yield piece
  }
}
