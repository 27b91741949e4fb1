/** /containers/{id…}/archive: what `docker cp` asks for. */
import { checkPath } from '../containers/archive.ts'
import type { Containers, PathStat } from '../containers/containers.ts'
import type { ApiRequest, Reply, Route } from './route.ts'

const pattern = '/containers/{id…}/archive'

export function containerArchiveRoutes(containers: Containers): readonly Route[] {
  return [
    { method: 'HEAD', pattern, handle: (request) => stat(containers, request) },
    { method: 'GET', pattern, handle: (request) => read(containers, request) },
    { method: 'PUT', pattern, handle: (request) => write(containers, request) },
  ]
}

function target({ params, query }: ApiRequest): { readonly id: string; readonly path: string } {
  const path = query.get('path') ?? ''
  checkPath(path)
  return { id: params['id'] ?? '', path }
}

const statHeader = (stat: PathStat): string => Buffer.from(JSON.stringify(stat)).toString('base64')

async function stat(containers: Containers, request: ApiRequest): Promise<Reply> {
  const { id, path } = target(request)
  const found = await containers.statPath(id, path)
  return { status: 200, headers: { 'X-Docker-Container-Path-Stat': statHeader(found) } }
}

async function read(containers: Containers, request: ApiRequest): Promise<undefined> {
  const { id, path } = target(request)
  const { response } = request
  await containers.readArchive(id, path, (found) => {
    response.writeHead(200, {
      'Content-Type': 'application/x-tar',
      'X-Docker-Container-Path-Stat': statHeader(found),
    })
    return response
  })
  return undefined
}

async function write(containers: Containers, request: ApiRequest): Promise<Reply> {
  const { id, path } = target(request)
  const { query } = request
  await containers.writeArchive(id, path, request.body, {
    noOverwriteDirNonDir: query.bool('noOverwriteDirNonDir'),
    copyUidGid: query.bool('copyUIDGID'),
  })
  return { status: 200 }
}
