/** How images are pulled and pushed; what the daemon's configuration says of it. */
export interface TransferSettings {
  /** Registries (host:port) that may speak plain HTTP; those on loopback always may. */
  readonly insecureRegistries: readonly string[]
  /** Mirrors of Docker Hub, as URLs, asked in turn before it. */
  readonly mirrors: readonly string[]
  /** Layers of one pull that come at a time. */
  readonly downloadsAtOnce: number
  /** Layers of one push that go at a time. */
  readonly uploadsAtOnce: number
  /** How often a layer is asked for before a pull fails. */
  readonly attemptsMax: number
}

export const defaultTransfers: TransferSettings = {
  insecureRegistries: [],
  mirrors: [],
  downloadsAtOnce: 3,
  uploadsAtOnce: 5,
  attemptsMax: 5,
}

/** Calls `task` for each item, so many at a time; all settle before the first failure is thrown. */
export async function eachOf<T>(
  items: Iterable<T>,
  atOnce: number,
  task: (item: T) => Promise<void>,
): Promise<void> {
  const next = items[Symbol.iterator]()
  const worker = async () => {
    for (let item = next.next(); item.done !== true; item = next.next()) await task(item.value)
  }
  const outcomes = await Promise.allSettled(Array.from({ length: atOnce }, worker))
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
