/** Everyday verbs on images. */
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { IncomingMessage } from 'node:http'
import { Refusal } from '../../base/refusal.ts'
import { field, type Json } from '../client.ts'
import { command, table, type Command, type Context } from '../command.ts'

const list = command({
  name: 'images',
  usage: '',
  summary: 'list images',
  async run(_values, _names, { engine, print }) {
    const rows = field.list(await engine.json('GET', '/images/json')).flatMap((image) => {
      const names = field.list(image, 'RepoTags').map(String)
      const rest = [field.text(image, 'Id').replace('sha256:', '').slice(0, 12), `${megabytes(image)} MB`]
      return (names.length > 0 ? names : ['<none>:<none>']).map((name) => [name, ...rest])
    })
    for (const line of table([['IMAGE', 'ID', 'SIZE'], ...rows])) print(line)
    return 0
  },
})

const megabytes = (image: Json) => (Number(field.text(image, 'Size')) / 1e6).toFixed(1)

const load = command({
  name: 'load',
  usage: '[-i FILE]',
  summary: 'load images from a tar file or standard input',
  options: { input: { type: 'string', short: 'i' } },
  async run(values, _names, context) {
    const source = values.input === undefined ? process.stdin : await streamOf(values.input)
    return printProgress(await context.engine.stream('POST', '/images/load', source), context)
  },
})

/** Opened before anything is asked of the engine: a file that cannot be read is said at once. */
const streamOf = async (file: string) => (await open(file)).createReadStream()

const importImage = command({
  name: 'import',
  usage: 'FILE|- [NAME[:TAG]]',
  summary: 'make an image from a tar file of a root file system',
  takes: [1, 2, 'a tar file (or -) and a name'],
  async run(_values, [file = '', name = ''], context) {
    const source = file === '-' ? process.stdin : await streamOf(file)
    const [repo = '', tag = ''] = splitTag(name)
    const query = new URLSearchParams({ fromSrc: '-', repo, tag })
    return printProgress(await context.engine.stream('POST', `/images/create?${query}`, source), context)
  },
})

const pull = command({
  name: 'pull',
  usage: 'NAME[:TAG]',
  summary: 'pull an image from a registry',
  takes: [1, 1, 'one image name'],
  async run(_values, [name = ''], context) {
    const [fromImage = '', tag = 'latest'] = splitTag(name)
    const query = new URLSearchParams({ fromImage, tag })
    return printProgress(await context.engine.stream('POST', `/images/create?${query}`), context)
  },
})

/** `registry:5000/name:tag` → name and tag; a colon before a slash belongs to the port. */
export function splitTag(name: string): string[] {
  const at = name.lastIndexOf(':')
  return at > name.lastIndexOf('/') ? [name.slice(0, at), name.slice(at + 1)] : [name]
}

/** Prints the status lines of a progress stream; a late failure in it is the exit code. */
async function printProgress(answer: IncomingMessage, { print }: Context): Promise<number> {
  for await (const line of createInterface({ input: answer })) {
    if (line.trim() === '') continue
    const message: Json = JSON.parse(line)
    const problem = field.text(message, 'errorDetail', 'message')
    if (problem !== '') throw new Refusal('internal', problem)
    const detail = field.of(message, 'progressDetail', 'current')
    const text = field.text(message, 'stream') || field.text(message, 'status')
    const id = field.text(message, 'id')
    if (text !== '' && detail === undefined) print(id === '' ? text.trimEnd() : `${id}: ${text}`)
  }
  return 0
}

export const imageCommands: readonly Command[] = [list, load, importImage, pull]
