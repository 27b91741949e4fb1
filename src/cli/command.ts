/** What a command of `portolan` is: a row of the table in `main.ts`. */
import type { Engine } from './client.ts'

export interface Context {
  readonly engine: Engine
  readonly host: string
  /** Prints one line to standard output. */
  print(line: string): void
}

export interface Command {
  /** Words that select it: `network create`. */
  readonly name: string
  /** Arguments, as `--help` shows them. */
  readonly usage: string
  readonly summary: string
  /** Answers the exit code. */
  run(args: readonly string[], context: Context): Promise<number>
}

/** A table with aligned columns, as people and `awk` read it. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows) {
    row.forEach((cell, column) => { widths[column] = Math.max(widths[column] ?? 0, cell.length) })
  }
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ').trimEnd())
}
