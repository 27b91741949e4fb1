/** `--log-opt tag`: Go's template with the fields that Docker offers, as `{{.Name}}/{{.ID}}`. */
import { hostname } from 'node:os'
import { shortId } from '../base/id.ts'
import { Refusal } from '../base/refusal.ts'
import type { ContainerRecord } from './record.ts'

/** '' without a tag. Refuses what is not among the fields: other template language is not known. */
export function logTag(template: string, record: ContainerRecord): string {
  const command = [record.path, ...record.args].join(' ')
  const imageId = record.imageId.replace(/^sha256:/, '')
  const fields: Readonly<Record<string, string>> = {
    ID: shortId(record.id),
    FullID: record.id,
    Name: record.name,
    ImageID: shortId(imageId),
    ImageFullID: record.imageId,
    ImageName: record.config.Image,
    Command: command,
    DaemonName: 'docker',
    Hostname: hostname(),
  }
  return template.replace(/\{\{(.*?)\}\}/g, (whole, expression: string) => {
    const value = fields[/^\s*\.(\w+)\s*$/.exec(expression)?.[1] ?? '']
    if (value !== undefined) return value
    throw new Refusal(
      'invalid',
      `failed to initialize logging driver: the tag's ${whole} is none of ` +
        Object.keys(fields).join(', '),
    )
  })
}
