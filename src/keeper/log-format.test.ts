import assert from 'node:assert/strict'
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import fc from 'fast-check'
import { encodeFrame, FrameReader } from './frames.ts'
import { LogFile } from './log-file.ts'
import {
  attributesJson,
  encodeLogLine,
  formatLogTime,
  logPaths,
  parseLogLine,
  parseLogTime,
} from './log-format.ts'
import { LineCutter, partBytesMax } from './log-lines.ts'

test('a line is written as Docker writes it', () => {
  assert.equal(
    encodeLogLine('a <b> & "c"\n', 'stdout', '2024-01-02T03:04:05.6Z'),
    '{"log":"a \\u003cb\\u003e \\u0026 \\"c\\"\\n","stream":"stdout",' +
      '"time":"2024-01-02T03:04:05.6Z"}\n',
  )
  assert.equal(
    encodeLogLine('x', 'stderr', 'T', attributesJson({ b: '2', a: '1' })),
    '{"log":"x","stream":"stderr","attrs":{"a":"1","b":"2"},"time":"T"}\n',
  )
})

test('what was written is read back, and broken lines are told from entries', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const line = encodeLogLine(text, 'stderr', '2024-01-02T03:04:05Z')
      assert.deepEqual(parseLogLine(line), {
        log: text,
        stream: 'stderr',
        time: '2024-01-02T03:04:05Z',
      })
      assert.equal(parseLogLine(line.slice(0, line.length / 2)), undefined)
    }),
  )
})

test('times keep their nanoseconds', () => {
  assert.equal(formatLogTime(1_700_000_000_123_456_700n), '2023-11-14T22:13:20.1234567Z')
  assert.equal(formatLogTime(1_700_000_000_000_000_000n), '2023-11-14T22:13:20Z')
  assert.equal(parseLogTime('2023-11-15T00:13:20.5+02:00'), 1_700_000_000_500_000_000n)
  assert.equal(parseLogTime('yesterday'), undefined)
  fc.assert(
    fc.property(fc.bigInt(0n, 4_000_000_000_000_000_000n), (ns) => {
      assert.equal(parseLogTime(formatLogTime(ns)), ns)
    }),
  )
})

test('rotated files are read oldest first', () => {
  assert.deepEqual(logPaths('/c-json.log', 3), ['/c-json.log.2', '/c-json.log.1', '/c-json.log'])
})

test('lines are cut at newlines and after 16 KiB, and nothing is lost', () => {
  const cutter = new LineCutter()
  const lines: string[] = []
  cutter.push(Buffer.from(`one\n${'x'.repeat(partBytesMax)}\n${'y'.repeat(20_000)}`), (line) =>
    lines.push(line),
  )
  cutter.flush((line) => lines.push(line))
  assert.deepEqual(
    lines.map((line) => line.length),
    [4, partBytesMax, 1, partBytesMax, 20_000 - partBytesMax],
  )
  const piece = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => text.repeat(300))
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.constant('\n'))), fc.nat(), (texts, step) => {
      const bytes = Buffer.from(texts.join(''))
      const all: string[] = []
      const fresh = new LineCutter()
      const width = 1 + (step % 40_000)
      for (let from = 0; from < bytes.length; from += width) {
        fresh.push(bytes.subarray(from, from + width), (line) => all.push(line))
      }
      fresh.flush((line) => all.push(line))
      assert.equal(all.join('') === bytes.toString(), true)
      assert.ok(all.every((line) => Buffer.byteLength(line) <= partBytesMax))
    }),
    { numRuns: 60 },
  )
})

test('a keeper that is killed at any moment leaves its burst to the next', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'log-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const whole = writeBursts(join(folder, 'whole.log'), undefined)
  for (let cut = 0; cut <= whole.lastBurstBytes; cut += 3) {
    const { text } = writeBursts(join(folder, `${cut}.log`), cut)
    assert.deepEqual(text, whole.text, `the last burst was cut by ${cut} bytes`)
  }
  assert.deepEqual(whole.text, [
    ['stdout', 'one\n'],
    ['stdout', 'two\n'],
    ['stdout', 'three\n'],
    ['stdout', 'four\n'],
    ['stderr', 'err'],
  ])
})

/** With `cut`: the keeper dies when that much of its second burst was not in the log yet. */
function writeBursts(logPath: string, cut: number | undefined) {
  const spec = { logPath, logMaxBytes: 0, logMaxFiles: 1, logAttributes: {} }
  let file = new LogFile(spec)
  file.write('stderr', Buffer.from('err'))
  file.write('stdout', Buffer.from('one\ntw'))
  const before = statSync(logPath).size
  file.write('stdout', Buffer.from('o\nthree\nfo'))
  const after = statSync(logPath).size
  if (cut !== undefined) {
    // Times that end in zeros are shorter: this burst may be, too.
    truncateSync(logPath, Math.max(before, after - cut))
    file = new LogFile(spec)
  }
  file.write('stdout', Buffer.from('ur\n'))
  file.close()
  const entries = readFileSync(logPath, 'utf8').trim().split('\n').map(parseLogLine)
  assert.equal(existsSync(`${logPath}.journal`), false)
  const text = entries.map((entry) => [entry?.stream, entry?.log])
  return { text, lastBurstBytes: after - before }
}

test('frames arrive as they were sent, however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 300 })), { maxLength: 8 }),
      fc.integer({ min: 1, max: 50 }),
      (sent, width) => {
        const encoded = sent.map(([type, data]) => encodeFrame(type, Buffer.from(data)))
        const bytes = Buffer.concat(encoded)
        const reader = new FrameReader()
        const received: [number, Uint8Array][] = []
        for (let from = 0; from < bytes.length; from += width) {
          for (const frame of reader.push(bytes.subarray(from, from + width))) {
            received.push([frame.type, new Uint8Array(frame.payload)])
          }
        }
        assert.deepEqual(received, sent.map(([type, data]) => [type, new Uint8Array(data)]))
      },
    ),
  )
  const huge = Buffer.from([1, 0xff, 0xff, 0xff, 0xff])
  assert.throws(() => new FrameReader().push(huge), /at most/)
})
