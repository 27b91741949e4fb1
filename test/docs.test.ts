/**
 * The documents agree with the code: help texts and tables of options shown in docs/reference are
 * the real ones, and every relative link leads to a file and to a heading of it.
 *
 * `UPDATE_DOCS=1 scripts/node --test test/docs.test.ts` writes the help texts and tables anew.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { optionRows } from '../src/daemon/options.ts'

const root = join(import.meta.dirname, '..')
const pages = globSync(['*.md', 'docs/**/*.md', 'bench/**/*.md'], { cwd: root })
const read = (page: string): string => readFileSync(join(root, page), 'utf8')

/** A fenced block whose first line is a help command as typed, then what it prints. */
const helpBlock = /(```text\n\$ (portolan(?: [a-z ]+)? --help)\n)([\s\S]*?)(```\n)/g
const keysTable = /(<!-- keys -->\n)([\s\S]*?)(<!-- end of keys -->)/

function helpOf(typed: string): string {
  const args = typed.split(' ').slice(1)
  const ran = spawnSync(join(root, 'portolan'), args, { encoding: 'utf8' })
  assert.equal(ran.status, 0, `${typed}: ${ran.stderr}`)
  return `${ran.stdout.trim()}\n`
}

/** Every key of daemon.json, with the flag it is and what it holds when not given. */
function keys(): string {
  const rows = optionRows
    .filter(([, option]) => option.only !== 'flag')
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([key, { flag, only, default: initial, noEffect }]) => {
      const name = only === 'file' ? 'none' : `\`--${flag ?? key}\``
      const effect = noEffect === true ? 'accepted, has no effect' : ''
      return `| \`${key}\` | ${name} | \`${JSON.stringify(initial)}\` | ${effect} |`
    })
  return ['| key | flag | default | |', '| --- | --- | --- | --- |', ...rows, ''].join('\n')
}

function asItShouldBe(text: string): string {
  return text
    .replace(helpBlock, (_all, begin: string, typed: string, _old: string, end: string) =>
      begin + helpOf(typed) + end)
    .replace(keysTable, (_all, begin: string, _old: string, end: string) => begin + keys() + end)
}

for (const page of ['docs/reference/daemon.md', 'docs/reference/command.md']) {
  test(`${page} shows what the program says of itself`, () => {
    const text = read(page)
    assert.match(text, helpBlock)
    const fresh = asItShouldBe(text)
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(join(root, page), fresh)
    else assert.equal(text, fresh, 'UPDATE_DOCS=1 scripts/node --test test/docs.test.ts')
  })
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'))
}

/** What the links of a page lead to, without those that leave the project. */
function brokenLinks(page: string): string[] {
  const prose = read(page).replace(/```[\s\S]*?```/g, '').replace(/`[^`\n]*`/g, '')
  const targets = [...prose.matchAll(/\]\(([^()\s]+)\)/g)].map((match) => match[1] ?? '')
  return targets.filter((target) => {
    if (/^[a-z]+:/.test(target)) return false
    const [path = '', anchor] = target.split('#')
    const file = path === '' ? page : join(dirname(page), path)
    if (!existsSync(join(root, file))) return true
    return anchor !== undefined && !anchorsOf(file).includes(decodeURIComponent(anchor))
  })
}

test('every link of a page leads somewhere', () => {
  const broken = pages.flatMap((page) => brokenLinks(page).map((link) => `${page}: ${link}`))
  assert.deepEqual(broken, [])
})

test('every page below docs can be reached from the README', () => {
  const seen = new Set<string>()
  const visit = (page: string): void => {
    if (seen.has(page) || !existsSync(join(root, page)) || statSync(join(root, page)).isDirectory()) return
    seen.add(page)
    if (!page.endsWith('.md')) return
    for (const match of read(page).matchAll(/\]\(([^()\s#]+)(?:#[^()\s]*)?\)/g)) {
      if (!/^[a-z]+:/.test(match[1] ?? '')) visit(join(dirname(page), match[1] ?? ''))
    }
  }
  visit('README.md')
  const guides = pages.filter((page) => /^docs\/(guides|tutorials|reference)\//.test(page))
  assert.deepEqual(guides.filter((page) => !seen.has(page)), [])
})

test('each tutorial is there in both languages', () => {
  const names = (folder: string) => globSync('*.md', { cwd: join(root, folder) }).sort()
  assert.deepEqual(names('docs/tutorials/zh'), names('docs/tutorials'))
})
