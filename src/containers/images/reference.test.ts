import assert from 'node:assert/strict'
import test from 'node:test'
import { canonicalName, familiarName, parseReference, referenceOf } from './reference.ts'
import { matchesReference } from './list.ts'
import { applyChanges } from './changes.ts'
import { parseChallenge } from './registry-auth.ts'
import { maySpeakPlainHttp } from './registry-hosts.ts'

const digest = `sha256:${'a'.repeat(64)}`

test('names have a long form and a familiar one', () => {
  const forms: [string, string, string][] = [
    ['busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
    ['shop/web:v1', 'docker.io/shop/web:v1', 'shop/web:v1'],
    ['localhost/x', 'localhost/x:latest', 'localhost/x:latest'],
    ['localhost:5000/a/b:1', 'localhost:5000/a/b:1', 'localhost:5000/a/b:1'],
    ['[::1]:5000/a', '[::1]:5000/a:latest', '[::1]:5000/a:latest'],
    ['index.docker.io/library/x', 'docker.io/library/x:latest', 'x:latest'],
    [`busybox@${digest}`, `docker.io/library/busybox@${digest}`, `busybox@${digest}`],
    [`busybox:1@${digest}`, `docker.io/library/busybox@${digest}`, `busybox@${digest}`],
  ]
  for (const [typed, long, familiar] of forms) {
    assert.equal(canonicalName(parseReference(typed)), long)
    assert.equal(familiarName(parseReference(typed)), familiar)
    assert.equal(canonicalName(parseReference(long)), long, 'the long form names the same')
  }
  assert.equal(canonicalName(referenceOf('busybox', digest)), `docker.io/library/busybox@${digest}`)
  assert.equal(canonicalName(referenceOf('a/b', '1.2')), 'docker.io/a/b:1.2')
})

test('what is no name is refused with the engine\'s sentence', () => {
  for (const bad of ['', ':x', 'a:', 'a b', 'a//b', '../x', 'a:b:c', '-a', 'a@sha256:12', 'x;y', 'a'.repeat(9000)]) {
    assert.throws(() => parseReference(bad), { message: 'invalid reference format' }, bad)
  }
  assert.throws(() => parseReference('a'.repeat(300)), /must not be more than 255 characters/)
  assert.throws(() => parseReference('Up/Per'), /must be lowercase|invalid reference format/)
  assert.throws(() => parseReference('0'.repeat(64)), /cannot specify 64-byte hexadecimal strings/)
})

test('patterns match whole names or repositories', () => {
  assert.ok(matchesReference('busybox:latest', 'busy*'))
  assert.ok(matchesReference('busybox:latest', '*:latest'))
  assert.ok(matchesReference('shop/web:v1', 'shop/*'))
  assert.ok(!matchesReference('shop/web:v1', '*web'), 'a star stays within its part')
  assert.ok(matchesReference('web:v1', 'web:v[0-9]'))
  assert.throws(() => matchesReference('x:1', '[z-a]'), /syntax error in pattern/)
})

test('changes are read like lines of a Dockerfile', () => {
  const change = (...lines: string[]) => applyChanges({ Env: ['A=0', 'P=1'], Cmd: ['old'] }, lines)
  assert.deepEqual(change('ENV A=1 B="x y"')['Env'], ['P=1', 'A=1', 'B=x y'])
  assert.deepEqual(change('ENV A some words')['Env'], ['P=1', 'A=some words'])
  assert.deepEqual(change('CMD echo $A')['Cmd'], ['/bin/sh', '-c', 'echo $A'])
  assert.deepEqual(change('entrypoint ["a", "b"]'), { Env: ['A=0', 'P=1'], Entrypoint: ['a', 'b'] })
  assert.deepEqual(change('EXPOSE 80 53/udp')['ExposedPorts'], { '80/tcp': {}, '53/udp': {} })
  assert.deepEqual(change('LABEL a=b c=d')['Labels'], { a: 'b', c: 'd' })
  assert.deepEqual(change('VOLUME /a /b')['Volumes'], { '/a': {}, '/b': {} })
  assert.deepEqual(change('WORKDIR /a', 'USER me')['WorkingDir'], '/a')
  assert.deepEqual(change('HEALTHCHECK --interval=5s --retries=2 CMD true')['Healthcheck'], {
    Test: ['CMD-SHELL', 'true'], Interval: 5_000_000_000, Retries: 2,
  })
  for (const bad of ['RUN x', 'FROM y', 'EXPOSE http', 'ENV', 'HEALTHCHECK --x=1 CMD a']) {
    assert.throws(() => change(bad), { kind: 'invalid' }, bad)
  }
})

test('challenges and insecure registries are read as the engine reads them', () => {
  const challenge = parseChallenge('Bearer realm="https://auth/token",service="r",scope="a:b:pull,push"')
  assert.deepEqual(challenge, {
    scheme: 'bearer', parameters: { realm: 'https://auth/token', service: 'r', scope: 'a:b:pull,push' },
  })
  assert.equal(parseChallenge('Negotiate'), undefined)
  assert.ok(maySpeakPlainHttp('127.3.2.1:5000', []))
  assert.ok(maySpeakPlainHttp('[::1]:5000', []))
  assert.ok(!maySpeakPlainHttp('10.0.0.1:5000', []))
  assert.ok(maySpeakPlainHttp('10.0.0.1:5000', ['10.0.0.0/8']))
  assert.ok(maySpeakPlainHttp('reg.example:5000', ['reg.example:5000']))
})
