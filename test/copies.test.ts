/**
 * docker cp, diff, export, import and commit: what of a file goes along, where a copy lands, and
 * what is refused. The tables are what a dockerd 28.2.2 answers, but for statuses: a malformed
 * archive is 400 here.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

let lab: Lab
const at = (...names: readonly string[]) => join(lab.folder, 'files', ...names)

before(async () => {
  lab = await Lab.start(undefined)
  mkdirSync(at(), { recursive: true })
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

interface Got {
  readonly status: number
  readonly stat: Readonly<Record<string, unknown>> | undefined
  readonly message: string
  readonly bytes: Buffer
}

function ask(method: string, path: string, body?: Buffer): Promise<Got> {
  return new Promise((done, fail) => {
    const headers = { 'Content-Type': 'application/x-tar' }
    const outgoing = request({ socketPath: lab.socket, method, path, headers }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => {
        const bytes = Buffer.concat(chunks)
        const header = String(answer.headers['x-docker-container-path-stat'] ?? '')
        const stat: unknown = header === '' ? undefined : JSON.parse(Buffer.from(header, 'base64').toString())
        const message = answer.statusCode === 200 ? '' : String(/"message":"(.*)"\}/.exec(bytes.toString())?.[1])
        done({ status: answer.statusCode ?? 0, stat: isRecord(stat) ? stat : undefined, message, bytes })
      })
    })
    outgoing.on('error', fail)
    outgoing.end(body)
  })
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null
const archive = (container: string, path: string, more = '') => `/containers/${container}/archive?path=${encodeURIComponent(path)}${more}`

/** A line for each entry, as `tar -t` with these options has it. */
function listed(tar: Buffer, ...options: readonly string[]): readonly string[] {
  const ran = spawnSync('tar', [...options, '-tPf', '-'], { input: tar, encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } })
  return ran.stdout.split('\n').filter((line) => line !== '')
}

const script = `mkdir -p /d/sub; echo a >/d/a; ln -s a /d/link; ln -s /d /dl; ln -s nowhere /dang; ln -s ../../../../etc/passwd /esc
mkfifo /d/fifo; chmod 4755 /d/a; exec sleep 600`

/** path → status; name and where it leads; names in the archive. A message where it is refused. */
const paths: readonly (readonly [path: string, status: number, shown: string, entries?: readonly string[]])[] = [
  ['/d', 200, 'd', ['d/', 'd/a', 'd/fifo', 'd/link', 'd/sub/']],
  ['/d/', 200, 'd', ['d/', 'd/a', 'd/fifo', 'd/link', 'd/sub/']],
  ['/d/.', 200, '.', ['./', './a', './fifo', './link', './sub/']],
  ['d/a', 200, 'a', ['a']],
  ['/d//a', 200, 'a', ['a']],
  ['/d/../d/a', 200, 'a', ['a']],
  ['/dl', 200, 'dl /d', ['dl']],
  ['/dl/', 200, 'dl', ['dl/', 'dl/a', 'dl/fifo', 'dl/link', 'dl/sub/']],
  ['/dl/.', 200, '.', ['./', './a', './fifo', './link', './sub/']],
  ['/d/link', 200, 'link /d/a', ['link']],
  ['/dang', 200, 'dang /nowhere', ['dang']],
  ['/esc', 200, 'esc /etc/passwd', ['esc']],
  ['/etc/passwd/', 500, 'lstat /etc/passwd/: not a directory'],
  ['/etc/passwd/.', 500, 'lstat /etc/passwd/.: not a directory'],
  ['/etc/passwd/x', 500, 'lstat /etc/passwd/x: not a directory'],
  ['/d/link/', 500, 'lstat /d/link/: not a directory'],
  ['/dang/', 404, 'Could not find the file /dang/ in container plain'],
  ['/nope', 404, 'Could not find the file /nope in container plain'],
]

async function expectPaths(): Promise<void> {
  for (const [path, status, shown, entries] of paths) {
    const head = await ask('HEAD', archive('plain', path))
    const get = await ask('GET', archive('plain', path))
    assert.deepEqual([head.status, get.status], [status, status], path)
    const { stat } = get
    const told = stat === undefined ? get.message : [stat['name'], stat['linkTarget']].filter((one) => one !== '').join(' ')
    assert.equal(told, shown, path)
    if (entries !== undefined) assert.deepEqual(listed(get.bytes), entries, path)
  }
}

/** Where an archive of f and sub/g may be put. */
const places: readonly (readonly [path: string, status: number, message: string])[] = [
  ['/vol', 200, ''], ['/named', 200, ''], ['/d', 200, ''], ['/d/.', 200, ''], ['/dl', 200, ''], ['/dl/', 200, ''], ['/tmp', 200, ''], ['/', 200, ''],
  ['/ro', 400, 'mounted volume is marked read-only'],
  ['/etc/passwd', 400, 'extraction point is not a directory'],
  ['/d/link', 400, 'extraction point is not a directory'],
  ['/etc/passwd/', 500, 'lstat /etc/passwd/: not a directory'],
  ['/nope', 404, 'Could not find the file /nope in container plain'],
  ['/dang', 404, 'Could not find the file /dang in container plain'],
]

test('a path is found, named and followed as by dockerd, running or not', async () => {
  for (const name of ['vol', 'ro']) mkdirSync(at(name), { recursive: true })
  await lab.ok('run', '-d', '--name', 'plain', '-v', `${at('vol')}:/vol`, '-v', 'named:/named', '-v', `${at('ro')}:/ro:ro`, 'busybox', 'sh', '-c', script)
  await lab.must('for i in $(seq 50); do docker exec plain test -e /d/fifo && break; sleep 0.1; done')
  mkdirSync(at('src/sub'), { recursive: true })
  writeFileSync(at('src/f'), 'f\n')
  writeFileSync(at('src/sub/g'), 'g\n')
  await lab.must(`chmod 700 ${at('src')}; chown 7:7 ${at('src')}`)
  const tar = spawnSync('tar', ['-C', at('src'), '-cf', '-', '.']).stdout
  for (const state of ['running', 'exited']) {
    if (state === 'exited') {
      await lab.ok('exec', 'plain', 'rm', '-r', '/d/f')
      await lab.ok('exec', 'plain', 'rm', '-r', '/d/sub/g')
      await lab.ok('stop', '-t', '0', 'plain')
    }
    await expectPaths()
    for (const [path, status, message] of places) {
      const put = await ask('PUT', archive('plain', path), tar)
      assert.deepEqual([put.status, put.message], [status, message], `${path} while ${state}`)
    }
    if (state === 'exited') await lab.ok('start', 'plain')
    // The folder itself stays as it is, whatever the one that was packed was like.
    assert.equal(await lab.ok('exec', 'plain', 'stat', '-c', '%a %u', '/tmp', '/vol', '/d'), '1777 0\n755 0\n755 0')
    assert.equal(await lab.ok('exec', 'plain', 'cat', '/vol/sub/g', '/named/f', '/d/sub/g', '/tmp/f'), 'g\nf\ng\nf')
  }
  await lab.ok('stop', '-t', '0', 'plain')
  assert.match(await lab.ok('cp', 'plain:/etc/hosts', '-'), /localhost/)
})

test('the command copies folders, links and files where it says', async () => {
  await lab.ok('start', 'plain')
  const out = at('out')
  mkdirSync(out)
  const cp = async (from: string, to: string, ...options: readonly string[]) => {
    const { code, err } = await lab.docker('cp', '-q', ...options, from, to)
    return code === 0 ? '' : err.trim()
  }
  const target = (name: string) => join(out, name)
  assert.equal(await cp('plain:/d', target('d1')), '')
  assert.equal(await cp('plain:/d/.', target('d2')), '')
  assert.equal(await cp('plain:/d/link', target('l1')), '')
  assert.equal(await cp('plain:/d/link', target('l2'), '-L'), '')
  assert.equal(await cp('plain:/dl/', target('d3')), '')
  for (const name of ['d1', 'd2', 'd3']) assert.equal(await lab.must(`cat ${target(name)}/sub/g; stat -c %a ${target(name)}/a`), 'g\n4755')
  assert.equal(await lab.must(`readlink ${target('l1')}; cat ${target('l2')}`), 'a\na')
  assert.match(await cp('plain:/etc/passwd/', out), /lstat \/etc\/passwd\/: not a directory/)
  assert.equal(await cp(at('src'), 'plain:/tmp/copy'), '')
  assert.equal(await cp(at('src/f'), 'plain:/d/link'), '')
  assert.equal(await cp(`${at('src')}/.`, 'plain:/dl'), '')
  assert.equal(await lab.ok('exec', 'plain', 'sh', '-c', 'cat /tmp/copy/sub/g /d/a; ls -ld /tmp/copy | cut -c1-10; readlink /d/link'), 'g\nf\ndrwx------\na')
  assert.match(await cp(at('src'), 'plain:/etc/passwd'), /cannot copy directory/)
  assert.match(await cp(at('src/f'), 'plain:/ro/x'), /mounted volume is marked read-only/)
  assert.match(await cp(at('src/f'), 'plain:/proc/x'), /cannot write \/proc\/x: no such file or directory/)
  await lab.ok('run', '-d', '--name', 'sealed', '--read-only', '--tmpfs', '/tm', '-v', 'named:/named', 'busybox', 'sleep', '600')
  assert.match(await cp(at('src/f'), 'sealed:/tmp/'), /container rootfs is marked read-only/)
  assert.equal(await cp(at('src/f'), 'sealed:/named/y'), '')
  assert.equal(await cp('sealed:/named/y', target('y')), '')
})

test('an archive replaces what is in its way, or must not', async () => {
  const put = (path: string, files: string, more = '') => {
    const tar = spawnSync('sh', ['-c', `cd $(mktemp -d) && ${files} && tar -cf - . ; rm -r "$PWD"`]).stdout
    return ask('PUT', archive('plain', path, more), tar)
  }
  await lab.ok('exec', 'plain', 'sh', '-c', 'mkdir -p /w/folder/deep; echo x >/w/folder/deep/x; echo f >/w/file; ln -s /etc /w/out')
  const strict = '&noOverwriteDirNonDir=1'
  assert.equal((await put('/w', 'mkdir file', strict)).message, 'cannot overwrite non-directory \\"/w/file\\" with directory \\"/w\\"')
  assert.equal((await put('/w', 'echo x >folder', strict)).message, 'cannot overwrite directory \\"/w/folder\\" with non-directory \\"/w\\"')
  const replaced = await put('/w', 'mkdir file; echo now >folder; mkdir out; echo in >out/side')
  assert.equal(replaced.status, 200, replaced.message)
  assert.equal(await lab.ok('exec', 'plain', 'sh', '-c', 'ls -F /w; cat /w/folder /w/out/side; ls /etc/side 2>&1; true'), 'file/\nfolder\nout/\nnow\nin\nls: /etc/side: No such file or directory')
  assert.equal((await put('/', 'echo x >vol')).message, 'cannot write /vol: something is mounted there')
  assert.equal((await put('/etc', 'echo x >hosts')).message, 'cannot write /etc/hosts: something is mounted there')
  assert.equal(await lab.ok('exec', 'plain', 'sh', '-c', 'cat /vol/sub/g; grep -c localhost /etc/hosts'), 'g\n2')
  for (const packer of ['gzip', 'xz', 'bzip2', 'zstd']) {
    if (spawnSync(packer, ['--version']).error !== undefined) continue
    const tar = spawnSync('sh', ['-c', `cd $(mktemp -d) && echo ${packer} >by && tar -cf - by | ${packer} -c; rm -r "$PWD"`]).stdout
    assert.equal((await ask('PUT', archive('plain', '/w'), tar)).status, 200, packer)
    assert.equal(await lab.ok('exec', 'plain', 'cat', '/w/by'), packer)
  }
  const bad = await ask('PUT', archive('plain', '/w'), Buffer.from('no archive at all'))
  assert.deepEqual([bad.status, bad.message], [400, 'not a tar archive: it ends too early'])
})

test('cp -a gives what it copies to the user of the container', async () => {
  writeFileSync(at('owned'), 'mine\n')
  await lab.ok('create', '--name', 'owned', '-u', '1234:1235', 'busybox')
  await lab.ok('cp', '-a', at('owned'), 'owned:/given')
  await lab.ok('cp', at('owned'), 'owned:/taken')
  const owner = async (path: string) =>
    /\d+\/\d+/.exec(listed((await ask('GET', archive('owned', path))).bytes, '-v', '--numeric-owner').join())?.[0]
  assert.deepEqual([await owner('/given'), await owner('/taken')], ['1234/1235', '0/0'])
})

const attributes = `import os, sys
for path in sys.argv[1:]:
    print({name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(os.listxattr(path, follow_symlinks=False))})`
const xattrsOf = (...files: readonly string[]) => lab.must(`python3 -c '${attributes}' ${files.join(' ')}`)
const rootOf = async (name: string) => `/proc/${await lab.ok('inspect', '-f', '{{.State.Pid}}', name)}/root`

test('owners, times, devices and capabilities go along; attributes come in, capabilities go out', async () => {
  const capability = '0100000200200000000000000000000000000080'
  await lab.must(`cd ${at()} && mkdir xa && echo x >xa/t && python3 -c "
import os
os.setxattr('xa/t', 'security.capability', bytes.fromhex('${capability}'))
os.setxattr('xa/t', 'user.note', b'\\x00\\xff!')
" && chown 1000660000:3000000 xa && touch -d 1960-01-01T00:00:00Z xa/t && ln xa/t xa/hard && cp --preserve=xattr xa/t xa/alone && mknod xa/null c 1 3 && tar --xattrs --xattrs-include='*' -cf xa.tar xa`)
  const both = await xattrsOf(at('xa/t'))
  assert.match(both, /security\.capability.*user\.note/)
  await lab.ok('run', '-d', '--name', 'kept', '-v', 'kept:/v', 'busybox', 'sleep', '600')
  const tar = spawnSync('cat', [at('xa.tar')]).stdout
  for (const folder of ['/tmp', '/v']) assert.equal((await ask('PUT', archive('kept', folder), tar)).status, 200)
  const root = await rootOf('kept')
  assert.equal(await xattrsOf(`${root}/tmp/xa/t`, `${root}/v/xa/t`), `${both}\n${both}`)
  assert.equal(await lab.ok('exec', 'kept', 'stat', '-c', '%u %g %Y', '/tmp/xa', '/tmp/xa/t').then((text) => text.replace(/3000000 .*/, '3000000')), '1000660000 3000000\n0 0 -315619200')
  assert.equal(await lab.ok('exec', 'kept', 'sh', '-c', 'cd /tmp/xa; [ hard -ef t ] && ls -l null | tr -s " " | cut -d" " -f1,5,6'), 'crw-r--r-- 1, 3')
  const capabilities = await lab.must(`python3 -c "print({'security.capability': bytes.fromhex('${capability}')})"`)
  const unpacked = async (bytes: Buffer, path: string) => {
    mkdirSync(at('o'), { recursive: true })
    spawnSync('tar', ['--xattrs', '--xattrs-include=*', '-C', at('o'), '-xf', '-', dirname(path)], { input: bytes })
    const found = await xattrsOf(at('o', path))
    await lab.must(`rm -r ${at('o')}`)
    return found
  }
  const got = await ask('GET', archive('kept', '/tmp/xa'))
  assert.equal(await unpacked(got.bytes, 'xa/t'), capabilities)
  assert.match(listed(got.bytes, '--numeric-owner', '-v')[0] ?? '', /1000660000\/3000000 /)
  assert.equal(await unpacked((await ask('GET', '/containers/kept/export')).bytes, 'tmp/xa/t'), capabilities)
  await lab.ok('commit', 'kept', 'committed')
  await lab.ok('import', at('xa.tar'), 'imported')
  await lab.ok('run', '-d', '--name', 'again', 'committed', 'sleep', '600')
  assert.equal(await xattrsOf(`${await rootOf('again')}/tmp/xa/t`), capabilities)
  await lab.ok('create', '--name', 'bare', 'imported', '/t')
  assert.equal(await unpacked((await ask('GET', archive('bare', '/xa'))).bytes, 'xa/alone'), capabilities)
})

/** What a shell does, and what `docker diff` then says. */
const diffs: readonly (readonly [script: string, changes: string])[] = [
  ['rm -rf /var/a; mkdir /var/a; touch /var/a/new', 'C /var, C /var/a, D /var/a/b, D /var/a/f, D /var/a/l, A /var/a/new'],
  ['rm -rf /var/a; mkdir -p /var/a/b; touch /var/a/f', 'C /var, C /var/a, C /var/a/b, D /var/a/b/c, C /var/a/f, D /var/a/l'],
  ['rm -rf /var/a; touch /var/a', 'C /var, C /var/a'],
  ['rm /srv/file; mkdir /srv/file; touch /srv/file/in', 'C /srv, C /srv/file, A /srv/file/in'],
  ['mv /srv/d /srv/e', 'C /srv, D /srv/d, A /srv/e, A /srv/e/1'],
  ['chmod 700 /srv/d; chown 5 /srv/file', 'C /srv, C /srv/d, C /srv/file'],
  ['echo 1 >>/srv/h', 'C /srv, C /srv/h'],
  ['rm -rf /srv; mkdir /srv', 'C /srv, D /srv/d, D /srv/file, D /srv/h'],
  ['mkdir -p /new/sub; rm -rf /new; cat /srv/h >/dev/null', ''],
  ['touch /etc/new; echo x >>/etc/hosts; touch /dev/shm/x', 'C /etc, A /etc/new'],
  ['cd /srv; touch .wh.foo; mkdir .wh..wh..opq', 'C /srv, A /srv/.wh..wh..opq, A /srv/.wh.foo'],
]

test('diff reads whiteouts and opaque folders, in the layers below, too', async () => {
  await lab.ok('run', '--name', 'one', 'busybox', 'sh', '-c', 'mkdir -p /var/old /srv/gone /var/a/x; touch /var/old/f /srv/gone/f')
  await lab.ok('commit', 'one', 'layers:1')
  await lab.ok('run', '--name', 'two', 'layers:1', 'sh', '-c', 'rm -rf /var/old /srv/gone /var/a; mkdir -p /var/a/b /srv/d; touch /var/a/b/c /srv/d/1 /srv/file; touch -d 2020-01-01 /var/a/f; ln -s f /var/a/l; echo h >/srv/h')
  await lab.ok('commit', 'two', 'layers:2')
  for (const [command, changes] of diffs) {
    await lab.ok('run', '--name', 'diffed', 'layers:2', 'sh', '-c', command)
    assert.equal((await lab.ok('diff', 'diffed')).replaceAll('\n', ', '), changes, command)
    await lab.ok('rm', 'diffed')
  }
  await lab.ok('run', '--name', 'diffed', '-v', '/fresh', 'layers:2', 'sh', '-c', 'mkdir /var/old; touch /var/old/f; touch /fresh/x')
  assert.equal((await lab.ok('diff', 'diffed')).replaceAll('\n', ', '), 'A /fresh, C /var, A /var/old, A /var/old/f')
})
