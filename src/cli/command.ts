/** What a command of `portolan` is: a row of the table in `main.ts`. */
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { Refusal, messageOf } from '../base/refusal.ts'
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

type Options = NonNullable<ParseArgsConfig['options']>
type Values<O extends Options> =
  ReturnType<typeof parseArgs<{ options: O; allowPositionals: true }>>['values']

/** A command whose options and names are judged before it runs. */
interface Row<O extends Options> extends Omit<Command, 'run'> {
  readonly options?: O
  /** How many names it takes at least and at most, and what they are; none when left out. */
  readonly takes?: readonly [least: number, most: number, what: string]
  /** Answers the exit code, or nothing for 0. */
  run(values: Values<O>, names: readonly string[], context: Context): Promise<number | undefined>
}

/** The command of a row: unknown options and too few or too many names are refused. */
export function command<O extends Options = Record<never, never>>(row: Row<O>): Command {
  const { name, usage, summary, options, takes: [least, most, what] = [0, 0, 'no arguments'] } = row
  return {
    name,
    usage,
    summary,
    async run(args, context) {
      const { values, positionals } = parse(args, options)
      if (positionals.length < least || positionals.length > most) {
        throw new Refusal('invalid', `takes ${what}`)
      }
      return (await row.run(values, positionals, context)) ?? 0
    },
  }
}

/** parseArgs' own errors already say which option is wrong. */
function parse<O extends Options>(args: readonly string[], options: O | undefined) {
  const config: { options?: O } = options === undefined ? {} : { options }
  try {
    return parseArgs({ ...config, args: [...args], allowPositionals: true })
  } catch (error) {
    throw new Refusal('invalid', messageOf(error), { cause: error })
  }
}

/** A table with aligned columns, as people and `awk` read it. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows) {
    row.forEach((cell, column) => { widths[column] = Math.max(widths[column] ?? 0, cell.length) })
  }
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('   ').trimEnd())
}
