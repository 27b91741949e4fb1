/**
 * The rules of the house, checked: who may import whom, no cycles, size and header of files,
 * nothing that escapes the type checker.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import test from 'node:test'

const root = join(dirname(import.meta.filename), '..')

/** Room → rooms it may import; docs/internals/architecture.md says why. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  base: [],
  kernel: ['base'],
  address: ['base'],
  store: ['base'],
  firewall: ['address', 'kernel', 'base'],
  names: ['address', 'kernel', 'base'],
  keeper: ['names', 'address', 'kernel', 'base'],
  network: ['firewall', 'names', 'keeper/client.ts', 'address', 'store', 'kernel', 'base'],
  containers: ['network', 'keeper/client.ts', 'keeper/log-format.ts', 'store', 'kernel', 'base'],
  cluster: ['network', 'store', 'base'],
  insight: ['network', 'containers', 'firewall', 'kernel', 'store', 'base'],
  api: ['network', 'containers', 'cluster', 'insight', 'base'],
  daemon: ['*'],
  cli: ['base', 'api/contract.ts'],
}

const sources = globSync('src/**/*.ts', { cwd: root }).filter((file) => !/\/gen\//.test(file))
const production = sources.filter((file) => !file.endsWith('.test.ts'))

/** What a file imports; `import type` leaves nothing at run time and makes no cycle. */
function importsOf(file: string, options: { types: boolean }): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  const found: string[] = []
  for (const match of text.matchAll(/(import type [^']*)?(?:from|import)\s*\(?\s*'(\.[^']+)'/g)) {
    if (match[1] !== undefined && !options.types) continue
    found.push(relative(root, join(root, dirname(file), match[2] ?? '')))
  }
  return found
}

const roomOf = (file: string): string | undefined => /^src\/([^/]+)\//.exec(file)?.[1]

test('rooms import only what the house allows', () => {
  const wrong: string[] = []
  for (const file of production) {
    const room = roomOf(file)
    if (room === undefined) continue // src/main.ts, the entry point
    const allowed = mayImport[room]
    assert.ok(allowed, `${file}: ${room} is no room of the house`)
    for (const imported of importsOf(file, { types: true })) {
      const other = roomOf(imported)
      if (other === undefined || other === room || allowed.includes('*')) continue
      if (allowed.includes(other) || allowed.includes(imported.slice('src/'.length))) continue
      wrong.push(`${file} imports ${imported}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('nothing that is delivered needs the tests', () => {
  const wrong = production.flatMap((file) =>
    importsOf(file, { types: true })
      .filter((imported) => !imported.startsWith('src/'))
      .map((imported) => `${file} imports ${imported}`))
  assert.deepEqual(wrong, [])
})

test('no file imports itself by a detour', () => {
  const graph = new Map(production.map((file) => [file, importsOf(file, { types: false })]))
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    if (done.has(file)) return
    assert.ok(!path.includes(file), `cycle: ${[...path, file].join(' → ')}`)
    for (const next of graph.get(file) ?? []) visit(next, [...path, file])
    done.add(file)
  }
  for (const file of production) visit(file, [])
})

test('every file begins with what it promises', () => {
  const bare = production.filter((file) => {
    const text = readFileSync(join(root, file), 'utf8').replace(/^#!.*\n/, '')
    return !text.startsWith('/**')
  })
  assert.deepEqual(bare, [])
})

test('no file is longer than 500 lines', () => {
  const long = production.filter((file) => readFileSync(join(root, file), 'utf8').split('\n').length > 501)
  assert.deepEqual(long, [])
})

test('nothing escapes the type checker', () => {
  const forbidden = /\bas any\b|: any\b|<any>|@ts-ignore|@ts-expect-error|@ts-nocheck/
  const hits: string[] = []
  for (const file of sources) {
    const lines = readFileSync(join(root, file), 'utf8').split('\n')
    lines.forEach((line, index) => {
      if (/^\s*(\/\/|\/?\*)/.test(line)) return // prose
      if (forbidden.test(line)) hits.push(`${file}:${index + 1}: ${line.trim()}`)
    })
  }
  assert.deepEqual(hits, [])
})

test('no error is swallowed without a word', () => {
  const hits = production.filter((file) =>
    /catch\s*(\([^)]*\))?\s*\{\s*\}/.test(readFileSync(join(root, file), 'utf8')))
  assert.deepEqual(hits, [])
})

test('every dependency has its reason in docs/internals/dependencies.md', () => {
  const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  assert.ok(typeof manifest === 'object' && manifest !== null)
  const reasons = readFileSync(join(root, 'docs/internals/dependencies.md'), 'utf8')
  const unexplained: string[] = []
  for (const [kind, packages] of Object.entries(manifest)) {
    if (!/ependencies$/.test(kind)) continue
    for (const name of Object.keys(packages)) {
      if (!reasons.includes(`\`${name}\``)) unexplained.push(name)
    }
  }
  assert.deepEqual(unexplained, [])
})
