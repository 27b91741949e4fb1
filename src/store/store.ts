/**
 * The desired state on disk: collections of JSON documents in one SQLite file.
 *
 *   portolan.db   document(collection, id, body)   user_version = schema, application_id = ours
 *
 * Promise: what `write` has resolved for survives a power cut, and a change set is there wholly or
 * not at all. Reads come from memory. One process at a time: the file is locked while it is open.
 *
 * A commit appends to SQLite's write-ahead log and costs no wait (synchronous=NORMAL, which keeps
 * the file sound whatever happens). What makes it durable is that log's flush to the disk; it is
 * done here, on a pool thread, so that a caller can go on with other work meanwhile. Changes that
 * come during a flush share the next commit.
 */
import { closeSync, existsSync, fdatasync, fdatasyncSync, openSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { parseExact, renderExact } from '../base/json.ts'
import { Refusal, messageOf } from '../base/refusal.ts'

export interface Collection<T> {
  get(id: string): T | undefined
  all(): readonly T[]
}

export interface Change {
  readonly collection: string
  readonly id: string
  /** null deletes. */
  readonly document: unknown
}

export interface Store {
  /** Reads a collection whole; a document that `parse` refuses makes the state unreadable. */
  collection<T>(name: string, parse: (document: unknown) => T): Collection<T>
  /** Committed at once, unless a flush is under way; durable and visible when it resolves. */
  write(changes: readonly Change[]): Promise<void>
  /** Commits and flushes what waits and lets go of the file. */
  close(): void
}

/** 'Port' in ASCII: tells our files from other SQLite files. */
const applicationId = 0x506f7274
const schemaVersion = 1
/** Change sets that may wait for one flush: more means the disk stands still. */
const waitingMax = 65_536

interface Waiting {
  readonly changes: readonly { readonly change: Change; readonly body: string | null }[]
  resolve(): void
  reject(error: unknown): void
}

interface Mirror {
  /** What is durable now, as text: a document is read when it is asked for. */
  set(id: string, body: string | null): void
  /** Refuses a document that could not be read again. */
  check(document: unknown): void
}

/** Opens the file, or makes it. Refuses one that is not ours, too new, damaged or in use. */
export function openStore(path: string): Store {
  const existed = existsSync(path)
  // Environments of containers are in it: nobody but root reads it, nor the log beside it.
  if (!existed) closeSync(openSync(path, 'a', 0o600))
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path)
    db.exec('PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE;')
    if (existed) checkIdentity(db, path)
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;')
    prepareSchema(db)
    return new SqliteStore(db, path)
  } catch (error) {
    db?.close()
    throw error instanceof Refusal
      ? error
      : new Refusal('internal', openSentence(path, error), { cause: error })
  }
}

function openSentence(path: string, error: unknown): string {
  const reason = messageOf(error)
  if (reason.includes('locked')) {
    const advice = 'stop that one, or choose another --data-root'
    return `the state file ${path} is in use by another daemon: ${advice}`
  }
  if (/not a database|malformed/.test(reason)) return damagedSentence(path, reason)
  return `the state file ${path} cannot be opened: ${reason}`
}

function damagedSentence(path: string, reason: string): string {
  return (
    `the state file ${path} is damaged (${reason}): restore it from a backup, or move it ` +
    'away to start with an empty state'
  )
}

function pragma(db: DatabaseSync, name: string): unknown {
  const row = db.prepare(`PRAGMA ${name}`).get()
  return row === undefined ? undefined : Object.values(row)[0]
}

function checkIdentity(db: DatabaseSync, path: string): void {
  const tables = db.prepare('SELECT count(*) AS count FROM sqlite_schema').get()
  const found = pragma(db, 'application_id')
  if (tables?.['count'] === 0 && found === 0) return // made, then killed before the first commit
  if (found !== applicationId) {
    throw new Refusal(
      'internal',
      `${path} is not a state file of portolan: ` +
        'choose another --data-root, or move the file away',
    )
  }
  const version = pragma(db, 'user_version')
  if (typeof version !== 'number' || version > schemaVersion) {
    throw new Refusal(
      'internal',
      `the state file ${path} has schema ${String(version)}, this ` +
        `portolan knows ${schemaVersion}: start the newer portolan that wrote it`,
    )
  }
  const health = pragma(db, 'quick_check')
  if (health !== 'ok') throw new Refusal('internal', damagedSentence(path, String(health)))
}

function prepareSchema(db: DatabaseSync): void {
  if (pragma(db, 'application_id') === applicationId) return
  db.exec(`
    BEGIN IMMEDIATE;
    CREATE TABLE document (
      collection TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
      PRIMARY KEY (collection, id)
    ) WITHOUT ROWID;
    PRAGMA application_id = ${applicationId};
    PRAGMA user_version = ${schemaVersion};
    COMMIT;`)
}

class SqliteStore implements Store {
  readonly #db: DatabaseSync
  readonly #path: string
  readonly #begin: StatementSync
  readonly #end: StatementSync
  readonly #put: StatementSync
  readonly #remove: StatementSync
  readonly #mirrors = new Map<string, Mirror>()
  /** Not committed yet: they came during a flush. */
  #waiting: Waiting[] = []
  /** Committed, and being flushed. */
  #flushing: Waiting[] = []
  /** SQLite's log, once the first commit has made it. */
  #log: number | undefined
  #closed = false

  constructor(db: DatabaseSync, path: string) {
    this.#db = db
    this.#path = path
    this.#begin = db.prepare('BEGIN IMMEDIATE')
    this.#end = db.prepare('COMMIT')
    this.#put = db.prepare(
      'INSERT INTO document VALUES (?, ?, ?) ' +
        'ON CONFLICT (collection, id) DO UPDATE SET body = excluded.body',
    )
    this.#remove = db.prepare('DELETE FROM document WHERE collection = ? AND id = ?')
  }

  collection<T>(name: string, parse: (document: unknown) => T): Collection<T> {
    if (this.#mirrors.has(name)) throw new Error(`collection ${name} is open already`)
    const read = (body: string) => parse(parseExact(body))
    const bodies = new Map<string, string>()
    /** Read at the start already, for the first who asks for all: most never ask again. */
    const early = new Map<string, T>()
    const rows = this.#db.prepare('SELECT id, body FROM document WHERE collection = ?').all(name)
    for (const { id, body } of rows) {
      try {
        early.set(String(id), read(String(body)))
        bodies.set(String(id), String(body))
      } catch (error) {
        throw new Refusal(
          'internal',
          damagedSentence(this.#path, `${name} ${id}: ${messageOf(error)}`),
          { cause: error },
        )
      }
    }
    this.#mirrors.set(name, {
      set(id, body) {
        early.delete(id)
        if (body === null) bodies.delete(id)
        else bodies.set(id, body)
      },
      check: (document) => void parse(document),
    })
    return {
      get(id) {
        const body = bodies.get(id)
        return body === undefined ? undefined : read(body)
      },
      all() {
        const documents = [...bodies].map(([id, body]) => early.get(id) ?? read(body))
        early.clear()
        return documents
      },
    }
  }

  write(changes: readonly Change[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new Refusal('unavailable', 'the daemon is shutting down')
      if (this.#waiting.length >= waitingMax) {
        throw new Refusal(
          'unavailable',
          `${waitingMax} changes wait for the disk already: try again later`,
        )
      }
      const rendered = changes.map((change) => ({ change, body: this.#render(change) }))
      this.#waiting.push({ changes: rendered, resolve, reject })
      if (this.#flushing.length === 0) this.#commit()
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    // Of a flush under way nobody can say whether it has ended: another one is cheap.
    const committed = this.#flushing
    this.#flushing = []
    const waiting = this.#takeWaiting()
    const log = this.#log
    try {
      if (log !== undefined) fdatasyncSync(log)
      for (const each of [...committed, ...waiting]) this.#acknowledge(each)
    } catch (error) {
      this.#refuse([...committed, ...waiting], error)
    }
    if (log !== undefined) closeSync(log)
    this.#db.close()
  }

  /** Text now, so that a caller may change its object afterwards. */
  #render(change: Change): string | null {
    const mirror = this.#mirrors.get(change.collection)
    if (mirror === undefined) throw new Error(`collection ${change.collection} was never opened`)
    if (change.document === null) return null
    mirror.check(change.document)
    return renderExact(change.document)
  }

  /** Commits all that waits and begins to flush it. */
  #commit(): void {
    const batch = this.#takeWaiting()
    if (batch.length === 0) return
    this.#flushing = batch
    try {
      this.#log ??= openSync(`${this.#path}-wal`, 'r')
      fdatasync(this.#log, (error) => this.#flushed(batch, error))
    } catch (error) {
      this.#flushed(batch, error)
    }
  }

  #flushed(batch: readonly Waiting[], error: unknown): void {
    if (this.#closed) return
    this.#flushing = []
    if (error === null) for (const each of batch) this.#acknowledge(each)
    else this.#refuse(batch, error)
    this.#commit()
  }

  /** What waited, committed; what cannot be is refused. */
  #takeWaiting(): Waiting[] {
    const batch = this.#waiting
    this.#waiting = []
    if (batch.length === 0) return batch
    try {
      this.#apply(batch)
      return batch
    } catch (error) {
      this.#refuse(batch, error)
      return []
    }
  }

  #refuse(batch: readonly Waiting[], error: unknown): void {
    const sentence = `the state file ${this.#path} cannot be written: ${messageOf(error)}`
    for (const each of batch) each.reject(new Refusal('internal', sentence, { cause: error }))
  }

  #apply(batch: readonly Waiting[]): void {
    this.#begin.run()
    try {
      for (const { change, body } of batch.flatMap((each) => each.changes)) {
        if (body === null) this.#remove.run(change.collection, change.id)
        else this.#put.run(change.collection, change.id, body)
      }
      this.#end.run()
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
  }

  #acknowledge({ changes, resolve }: Waiting): void {
    for (const { change, body } of changes) {
      this.#mirrors.get(change.collection)?.set(change.id, body)
    }
    resolve()
  }
}
