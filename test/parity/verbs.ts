/** Images, volumes, exec, logs, top, wait, archive, list filters, system and events. */
import { names } from './networks.ts'
import type { Panel } from './panel.ts'

const encoded = (value: unknown): string => encodeURIComponent(JSON.stringify(value))

export async function imageTopic(panel: Panel): Promise<void> {
  const get = (path: string) => panel.ask(`GET ${path}`, 'GET', path)
  const post = (path: string, body?: unknown) => panel.ask(`POST ${path}`, 'POST', path, body)
  for (const path of ['/images/json', '/images/json?all=1', '/images/json?digests=1', '/images/busybox/json',
    '/images/busybox:latest/json', '/images/busybox/history']) await get(path)
  await post('/images/busybox/tag?repo=corner/shop&tag=v1')
  await post('/images/busybox/tag?repo=localhost:5000/a/b')
  await post('/images/busybox/tag?repo=docker.io/library/long&tag=x')
  const filters = [{ reference: ['corner/*'] }, { reference: ['busybox'] }, { dangling: ['true'] }, { dangling: ['false'] },
    { label: ['a'] }, { before: ['busybox'] }, { since: ['busybox'] }, { until: ['1h'] }, { foo: ['x'] }, { dangling: ['zz'] }]
  for (const filter of filters) await get(`/images/json?filters=${encoded(filter)}`)
  await get('/images/json')
  for (const name of ['corner/shop:v1', 'localhost:5000/a/b', 'long:x', 'nope']) {
    await panel.ask(`DELETE image ${name}`, 'DELETE', `/images/${encodeURIComponent(name)}`)
  }
  await panel.do('POST', '/containers/create?name=base', { Image: 'busybox', Cmd: ['sh', '-c', 'echo x > /made'] })
  const changes = ['ENV A=b', 'CMD ["sleep","9"]', 'EXPOSE 80', 'USER 33', 'LABEL a=b', 'WORKDIR /tmp', 'VOLUME /data',
    'ENTRYPOINT ["sh"]', 'ONBUILD RUN x']
  const query = changes.map((change) => `changes=${encodeURIComponent(change)}`).join('&')
  await panel.ask('commit', 'POST', `/commit?container=base&repo=made&tag=v1&comment=c&author=me&${query}`, undefined, { keep: 'image' })
  await get('/images/made:v1/json')
  await get('/images/made:v1/history')
  await panel.ask('create from the committed image', 'POST', '/containers/create?name=from', { Image: 'made:v1' }, { keep: 'from' })
  await get('/containers/from/json')
  await panel.ask('create over the image', 'POST', '/containers/create?name=over', {
    Image: 'made:v1', Env: ['A=c', 'B=d'], Cmd: ['-c', 'true'], Labels: { a: 'z', q: 'r' }, User: '0', ExposedPorts: { '81/tcp': {} },
  }, { keep: 'over' })
  await get('/containers/over/json')
  await panel.ask('DELETE an image in use', 'DELETE', '/images/made:v1')
  for (const name of ['over', 'from', 'base']) await panel.do('DELETE', `/containers/${name}?v=1&force=1`)
  await panel.ask('DELETE the committed image', 'DELETE', '/images/made:v1')
  await post('/images/prune')
  await post('/containers/prune')
}

export async function volumeTopic(panel: Panel): Promise<void> {
  const bodies = [{ Name: 'one' }, { Name: 'one' }, { Name: 'two', Labels: { a: 'b' } }, { Name: 'three', Driver: 'local', DriverOpts: {} },
    { Name: 'four', DriverOpts: { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' } }, {}, { Labels: { anonymous: '' } }]
  for (const body of bodies) await panel.ask(`volume ${JSON.stringify(body)}`, 'POST', '/volumes/create', body)
  for (const name of ['one', 'two', 'three', 'four']) await panel.ask(`inspect volume ${name}`, 'GET', `/volumes/${name}`)
  const filters = [{}, { name: ['o'] }, { label: ['a'] }, { label: ['a=b'] }, { dangling: ['true'] }, { dangling: ['false'] },
    { driver: ['local'] }, { driver: ['nope'] }, { foo: ['x'] }, { dangling: ['zz'] }]
  for (const filter of filters) {
    await panel.ask(`volumes ${JSON.stringify(filter)}`, 'GET', `/volumes?filters=${encoded(filter)}`, undefined, { pick: volumesByName })
  }
  await panel.do('POST', '/containers/create?name=user', { Image: 'busybox', HostConfig: { Binds: ['one:/one'] } })
  await panel.ask('remove a volume in use', 'DELETE', '/volumes/one')
  await panel.do('DELETE', '/containers/user')
  for (const name of ['one', 'four']) await panel.ask(`remove volume ${name}`, 'DELETE', `/volumes/${name}`)
  await panel.ask('prune volumes by label', 'POST', `/volumes/prune?filters=${encoded({ label: ['a'] })}`)
  await panel.ask('prune volumes', 'POST', '/volumes/prune', undefined, { pick: (json) => JSON.stringify(json).replaceAll(/[0-9a-f]{64}/g, 'id').match(/"[^"]*"/g)?.sort() })
}

export async function verbTopic(panel: Panel): Promise<void> {
  const get = (path: string) => panel.ask(`GET ${path}`, 'GET', path)
  const post = (path: string, body?: unknown) => panel.ask(`POST ${path}`, 'POST', path, body)
  await panel.do('POST', '/networks/create', { Name: 'netv', IPAM: { Config: [{ Subnet: '10.67.0.0/16' }] } })
  await panel.ask('create verb', 'POST', '/containers/create?name=verb', {
    Image: 'busybox', Cmd: ['sh', '-c', 'echo out; echo err >&2; exec sleep 600'], Labels: { color: 'red' }, StopSignal: 'KILL',
    ExposedPorts: { '80/tcp': {} }, HostConfig: { Binds: ['verbvol:/vol'], PortBindings: { '80/tcp': [{ HostPort: '18080' }] } },
  }, { keep: 'verb' })
  await panel.ask('create done', 'POST', '/containers/create?name=done',
    { Image: 'busybox', Cmd: ['sh', '-c', 'echo gone; exit 3'], HostConfig: { NetworkMode: 'netv' } }, { keep: 'done' })
  await get('/containers/verb/changes')
  await post('/containers/verb/start')
  await post('/containers/done/start')
  await post('/containers/done/wait')
  for (const query of ['', '?condition=not-running', '?condition=removed2']) await post(`/containers/done/wait${query}`)
  await get('/containers/done/json')
  for (const query of ['stdout=1', 'stdout=1&stderr=1', 'stdout=1&stderr=1&tail=1', 'stdout=1&tail=all', 'stderr=1&tail=0', 'stdout=1&details=1',
    'stdout=1&since=9999999999', 'stdout=1&until=1']) {
    await panel.ask(`logs ${query}`, 'GET', `/containers/done/logs?${query}`, undefined, { shape: 'text' })
  }
  await panel.ask('top', 'GET', '/containers/verb/top', undefined, { pick: titles })
  await panel.ask('top with arguments', 'GET', '/containers/verb/top?ps_args=-o%20pid,args', undefined, { pick: titles })
  const execs = [{ Cmd: ['id'] }, { Cmd: ['id'], User: '33' }, { Cmd: ['pwd'], WorkingDir: '/tmp', AttachStdout: true },
    { Cmd: ['sh', '-c', 'exit 7'], AttachStdout: true, AttachStderr: true }, { Cmd: ['env'], Env: ['Q=r'], AttachStdout: true },
    { Cmd: ['id'], Privileged: true, AttachStdin: true, DetachKeys: 'ctrl-a,b' }, { Cmd: ['nosuchprogram'], AttachStdout: true },
    { Cmd: ['id'], User: 'nobodyhere', AttachStdout: true }, { Cmd: ['pwd'], WorkingDir: '/nonexistent', AttachStdout: true }]
  for (const body of execs) {
    const what = JSON.stringify(body)
    await panel.ask(`exec create ${what}`, 'POST', '/containers/verb/exec', body, { keep: 'exec' })
    await panel.ask(`exec created ${what}`, 'GET', '/exec/{{exec}}/json')
    if ('AttachStdout' in body) await panel.ask(`exec start ${what}`, 'POST', '/exec/{{exec}}/start', { Detach: false }, { shape: 'text' })
    await panel.ask(`exec inspect ${what}`, 'GET', '/exec/{{exec}}/json')
  }
  for (const path of ['/etc/passwd', '/etc', '/bin/sh', '/vol', '/tmp/', '/proc/self', '/etc/hosts', '/', '/dev/null', '/etc/passwd/']) {
    await panel.ask(`stat ${path}`, 'HEAD', `/containers/verb/archive?path=${encodeURIComponent(path)}`, undefined, { shape: 'text', pick: (_, answer) => stat(answer.headers['x-docker-container-path-stat']) })
  }
  for (const [verb, state] of [['pause', 'paused'], ['pause', 'twice'], ['unpause', 'unpaused'], ['restart?t=0', 'restarted'], ['rename?name=verb2', 'renamed'],
    ['kill?signal=0', 'signalled'], ['update', 'updated']] as const) {
    await post(`/containers/{{verb}}/${verb}`, verb === 'update' ? { Memory: 67108864, MemorySwap: -1, RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 2 } } : undefined)
    await panel.ask(`inspect ${state}`, 'GET', '/containers/{{verb}}/json')
    await panel.ask(`list ${state}`, 'GET', '/containers/json?all=1')
  }
  await attachments(panel)
  await listFilters(panel)
  await panel.ask('kill', 'POST', '/containers/verb2/kill')
  await post('/containers/verb2/wait')
  await get('/containers/verb2/json')
  await panel.ask('remove running by force', 'DELETE', '/containers/verb2?force=1&v=1')
  await panel.do('DELETE', '/containers/done')
  await panel.do('DELETE', '/networks/netv')
}

/** Connect and disconnect, on what runs and what does not. */
async function attachments(panel: Panel): Promise<void> {
  const settings = [{}, { Aliases: ['x', 'y'] }, { IPAMConfig: { IPv4Address: '10.67.0.9' } }, { Links: ['done:d'] }, { DriverOpts: { a: 'b' } }, undefined]
  for (const container of ['verb2', 'done']) {
    await panel.do('POST', '/networks/netv/disconnect', { Container: container, Force: true })
    for (const EndpointConfig of settings) {
      const what = `${container} ${JSON.stringify(EndpointConfig)}`
      await panel.ask(`connect ${what}`, 'POST', '/networks/netv/connect', { Container: container, EndpointConfig })
      await panel.ask(`connected ${what}`, 'GET', `/containers/${container}/json`)
      await panel.ask(`network of ${what}`, 'GET', '/networks/netv', undefined, { keep: 'netv' })
      await panel.ask(`disconnect ${what}`, 'POST', '/networks/netv/disconnect', { Container: container })
    }
    await panel.ask(`disconnected ${container}`, 'GET', `/containers/${container}/json`)
  }
}

async function listFilters(panel: Panel): Promise<void> {
  const filters = [{ name: ['verb'] }, { name: ['^/verb2$'] }, { id: ['{{verb}}'] }, { label: ['color'] }, { label: ['color=red'] }, { label: ['color=blue'] },
    { status: ['running'] }, { status: ['exited'] }, { status: ['zz'] }, { exited: ['3'] }, { exited: ['zz'] }, { ancestor: ['busybox'] }, { ancestor: ['nope'] },
    { before: ['done'] }, { since: ['verb2'] }, { before: ['nope'] }, { volume: ['verbvol'] }, { volume: ['/vol'] }, { network: ['bridge'] }, { network: ['nope'] },
    { publish: ['18080'] }, { publish: ['80/tcp'] }, { expose: ['80'] }, { expose: ['80/udp'] }, { publish: ['zz'] }, { health: ['none'] }, { health: ['healthy'] },
    { 'is-task': ['true'] }, { 'is-task': ['zz'] }, { foo: ['x'] }, { name: ['verb'], status: ['exited'] }]
  for (const filter of filters) {
    await panel.ask(`containers ${JSON.stringify(filter)}`, 'GET', `/containers/json?filters=${encoded(filter).replaceAll('%7B%7Bverb', '{{verb').replaceAll('verb%7D%7D', 'verb}}')}`, undefined, { pick: ids })
  }
  for (const query of ['limit=1', 'all=1', 'all=true', 'all=0', 'limit=-1', 'size=1', 'last=1']) {
    await panel.ask(`containers ${query}`, 'GET', `/containers/json?${query}`, undefined, { pick: ids })
  }
}

export async function systemTopic(panel: Panel): Promise<void> {
  await panel.ask('ping', 'GET', '/_ping', undefined, { pick: (json, { headers }) => [json, headers['docker-experimental'], headers['ostype'], headers['cache-control'], headers['pragma'], headers['content-type']] })
  await panel.ask('ping by HEAD', 'HEAD', '/_ping', undefined, { pick: (_, { headers }) => [headers['ostype'], headers['content-type']] })
  await panel.ask('version', 'GET', '/version', undefined, { pick: ownFactsLeftOut })
  await panel.do('POST', '/containers/create?name=counted', { Image: 'busybox', Cmd: ['sleep', '600'], HostConfig: { Binds: ['dfvol:/v'] } })
  await panel.ask('inspect counted', 'GET', '/containers/counted/json', undefined, { keep: 'counted', pick: () => '' })
  await panel.ask('info', 'GET', '/info', undefined, { pick: ownFactsLeftOut })
  for (const query of ['', '?type=container', '?type=volume', '?type=image&type=volume', '?type=build-cache', '?type=zz', '?type=']) {
    await panel.ask(`df ${query}`, 'GET', `/system/df${query}`, undefined, { pick: ownFactsLeftOut })
  }
  await panel.do('DELETE', '/containers/counted?v=1')
  await panel.do('DELETE', '/volumes/dfvol')
  await panel.ask('networks at the end', 'GET', '/networks', undefined, { pick: names })
}

function ids(json: unknown): unknown {
  return Array.isArray(json) ? json.map((item: { Names?: unknown }) => item.Names) : json
}

/** What says whose engine it is, or what the machine is doing just now. */
const ownFacts = new Set(['ID', 'SystemTime', 'NFd', 'NGoroutines', 'NEventsListener', 'KernelVersion', 'GitCommit', 'GoVersion', 'BuildTime', 'Version', 'Platform', 'ServerVersion',
  'DockerRootDir', 'ContainerdCommit', 'RuncCommit', 'InitCommit', 'InitBinary', 'Address', 'Created', 'CreatedAt', 'Size', 'SizeRootFs', 'LayersSize', 'Components'])

function ownFactsLeftOut(json: unknown): unknown {
  const text = JSON.stringify(json, (key, value: unknown) => (ownFacts.has(key) ? undefined : value)) ?? 'null'
  return JSON.parse(text) as unknown
}

function titles(json: unknown): unknown {
  return typeof json === 'object' && json !== null && 'Titles' in json && 'Processes' in json && Array.isArray(json.Processes)
    ? [json.Titles, json.Processes.map((row: unknown) => (Array.isArray(row) ? row.at(-1) : row))] : json
}

function volumesByName(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || !('Volumes' in json) || !Array.isArray(json.Volumes)) return json
  const named = (volume: unknown) => (typeof volume === 'object' && volume !== null && 'Name' in volume ? String(volume.Name) : '')
  const sorted = json.Volumes.filter((volume: unknown) => !/^[0-9a-f]{64}$/.test(named(volume)))
  return { ...json, Volumes: sorted.sort((a, b) => named(a).localeCompare(named(b))) }
}

function stat(header: unknown): unknown {
  if (typeof header !== 'string') return header
  const { size: _, mtime: __, ...rest }: Record<string, unknown> = JSON.parse(Buffer.from(header, 'base64').toString())
  return rest
}
