/** `npm run bench -- NAME [OPTION...]`: runs `bench/NAME.ts` in private namespaces. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const [name = '', ...rest] = process.argv.slice(2)
const file = join(import.meta.dirname, `${name}.ts`)
if (!/^[a-z]+$/.test(name) || name === 'run' || !existsSync(file)) {
  console.error('bench: name one of: attach [--many], memory')
  process.exit(1)
}
const { main }: { main: (args: readonly string[]) => Promise<void> } = await import(file)
await main(rest)
