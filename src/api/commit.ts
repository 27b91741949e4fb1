/** POST /commit: an image of what a container has become. */
import { Refusal } from '../base/refusal.ts'
import { configShape, createShape } from '../containers/config.ts'
import type { Containers } from '../containers/containers.ts'
import { mergeImageConfig } from '../containers/defaults.ts'
import { applyChanges } from '../containers/images/changes.ts'
import type { Images } from '../containers/images/images.ts'
import { canonicalName, familiarName, parseReference, referenceOf } from '../containers/images/reference.ts'
import { isObject } from '../containers/shape.ts'
import type { Decoder } from './decode.ts'
import type { ApiRequest, Reply, Route } from './route.ts'

export function commitRoutes(images: Images, containers: Containers): readonly Route[] {
  const handle = (request: ApiRequest) => commit(images, containers, request)
  return [{ method: 'POST', pattern: '/commit', handle }]
}

const configDecoder: Decoder<ReturnType<typeof createShape.decode>> = {
  decode: (value) => createShape.decode(value, 'CreateRequest'),
}

async function commit(images: Images, containers: Containers, request: ApiRequest): Promise<Reply> {
  const { query } = request
  const given = request.bodyless ? undefined : await request.json(configDecoder)
  const container = containers.find(query.get('container') ?? '')
  const { id, record } = container
  if (record.state.status === 'removing' || record.state.status === 'dead') {
    throw new Refusal(
      'conflict',
      `You cannot commit container ${id} which is ${record.state.status}`,
    )
  }
  const repo = query.get('repo') ?? ''
  const name = repo === '' ? '' : canonicalName(referenceOf(repo, query.get('tag') ?? ''))
  const shown = configShape.show(given ?? record.config)
  const changed = applyChanges(isObject(shown) ? shown : {}, query.getAll('changes'))
  const merged = configShape.show(
    mergeImageConfig(configShape.decode(changed, 'Config'), configShape.show(record.config)),
  )
  const comment = query.get('comment') ?? ''
  const pauses = query.get('pause') === undefined || query.bool('pause')
  const work = async () => {
    const made = await images.commit({
      snapshotKey: id,
      imageId: record.imageId,
      // Whose root this was is no part of the image.
      config: isObject(merged) ? { ...merged, Hostname: '', Image: '' } : {},
      name,
      comment,
      author: query.get('author') ?? '',
      createdBy: (record.config.Cmd ?? []).join(' '),
    })
    const imageRef = name === '' ? '' : familiarName(parseReference(name))
    containers.context.registry.tell(container, 'commit', { comment, imageID: made.id, imageRef })
    return made
  }
  const image = await paused(containers, id, pauses && record.state.status === 'running', work)
  return { status: 201, json: { Id: image.id } }
}

async function paused<T>(
  containers: Containers,
  id: string,
  pauses: boolean,
  work: () => Promise<T>,
): Promise<T> {
  if (!pauses) return work()
  await containers.pause(id)
  try {
    return await work()
  } finally {
    await containers.unpause(id)
  }
}
