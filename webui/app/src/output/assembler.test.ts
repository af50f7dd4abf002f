import {describe, expect, it} from 'vitest'
import {Assembler, type Line} from './assembler.ts'

const at = (ms: number) => new Date(1_800_000_000_000 + ms).toISOString()
const bytes = (text: string) => new TextEncoder().encode(text)
const b64 = (data: Uint8Array) => btoa(String.fromCharCode(...data))

function chunk(
  offset: number,
  data: string | Uint8Array,
  more: {attempt?: number; stream?: 'stdout' | 'stderr'; ms?: number} = {},
) {
  const {attempt = 1, stream = 'stdout', ms = offset} = more
  return {attempt, stream, offset, at: at(ms), data: b64(typeof data === 'string' ? bytes(data) : data)} as const
}

function shown(lines: Line[]): string[] {
  return lines.map((l) => {
    if (l.kind === 'attempt') return `#${l.attempt}`
    if (l.kind === 'gap') return `gap ${l.bytes}`
    return (l.stream === 'stderr' ? '! ' : '') + l.spans.map((s) => s.text).join('')
  })
}

describe('Assembler', () => {
  it('joins a line that comes in pieces, and shows it before it ends', () => {
    const a = new Assembler()
    a.add(chunk(0, 'hel'))
    expect(shown(a.lines())).toEqual(['#1', 'hel'])
    a.add(chunk(3, 'lo\nwor'))
    a.add(chunk(9, 'ld\n'))
    expect(shown(a.lines())).toEqual(['#1', 'hello', 'world'])
  })

  it('keeps a character whole that two chunks share', () => {
    const data = bytes('运行🚀\n')
    for (let cut = 1; cut < data.length; cut++) {
      const a = new Assembler()
      a.add(chunk(0, data.subarray(0, cut)))
      a.add(chunk(cut, data.subarray(cut)))
      expect(shown(a.lines())).toEqual(['#1', '运行🚀'])
    }
  })

  it('shows bytes that are no text without failing', () => {
    const a = new Assembler()
    a.add(chunk(0, new Uint8Array([0x61, 0xff, 0x62, 0x0a])))
    expect(shown(a.lines())).toEqual(['#1', 'a\ufffdb'])
  })

  it('knows where each line begins', () => {
    const text = 'one\r\n运行\n\nfour is cut\nrest'
    const data = bytes(text)
    for (let cut = 1; cut <= data.length; cut++) {
      const a = new Assembler({lineLength: 6, lines: 100})
      for (let from = 0; from < data.length; from += cut) a.add(chunk(from, data.subarray(from, from + cut)))
      a.add(chunk(100, 'and\nafter a gap'))
      const offsets = a.lines().flatMap((l) => (l.kind === 'text' ? [[l.offset, l.spans.map((s) => s.text).join('')]] : []))
      expect(offsets).toEqual([
        [0, 'one'],
        [5, '运行'],
        [12, ''],
        [13, 'four i'],
        [13, 's cut'],
        [25, 'rest'],
        [100, 'and'],
        [104, 'after '],
        [104, 'a gap'],
      ])
    }
  })

  it('leaves out what it has already, whole or in part', () => {
    const a = new Assembler()
    a.add(chunk(0, 'one\ntwo\n'))
    a.add(chunk(0, 'one\ntwo\n'))
    a.add(chunk(4, 'two\nthree\n'))
    expect(shown(a.lines())).toEqual(['#1', 'one', 'two', 'three'])
  })

  it('says how much is missing, also at the start', () => {
    const a = new Assembler()
    a.add(chunk(10, 'tail of a line\n'))
    a.add(chunk(125, 'next\n'))
    expect(shown(a.lines())).toEqual(['#1', 'gap 10', 'tail of a line', 'gap 100', 'next'])
  })

  it('does not join what a gap parts', () => {
    const a = new Assembler()
    a.add(chunk(0, 'begin'))
    a.add(chunk(50, 'end\n'))
    expect(shown(a.lines())).toEqual(['#1', 'begin', 'gap 45', 'end'])
  })

  it('puts the streams of an attempt together by time, and attempts one after the other', () => {
    const a = new Assembler()
    a.add(chunk(0, 'out 1\n', {ms: 10}))
    a.add(chunk(6, 'out 2\n', {ms: 30}))
    expect(a.lines()).toHaveLength(3)
    a.add(chunk(0, 'err 1\n', {stream: 'stderr', ms: 20}))
    a.add(chunk(0, 'again\n', {attempt: 2, ms: 5}))
    expect(shown(a.lines())).toEqual(['#1', 'out 1', '! err 1', 'out 2', '#2', 'again'])
  })

  it('keeps the order of a stream though the clock went back', () => {
    const a = new Assembler()
    a.add(chunk(0, 'first\n', {ms: 100}))
    a.add(chunk(6, 'second\n', {ms: 50}))
    expect(shown(a.lines())).toEqual(['#1', 'first', 'second'])
  })

  it('cuts a line that is too long, and drops the oldest lines', () => {
    const a = new Assembler({lineLength: 4, lines: 3})
    a.add(chunk(0, 'abcdefghij\nk\n'))
    expect(shown(a.lines())).toEqual(['efgh', 'ij', 'k'])
    expect(a.dropped).toBe(2)
    a.add(chunk(13, 'l\n'))
    expect(shown(a.lines())).toEqual(['ij', 'k', 'l'])
    expect(a.dropped).toBe(3)
  })

  it('gives the same lines again while nothing comes, and new ones when a line grows', () => {
    const a = new Assembler()
    a.add(chunk(0, 'grow'))
    const before = a.lines()
    expect(a.lines()).toBe(before)
    a.add(chunk(4, 'ing'))
    expect(a.lines()).not.toBe(before)
    expect(shown(a.lines())).toEqual(['#1', 'growing'])
  })

  it('carries a colour from line to line, and from stream to stream not', () => {
    const a = new Assembler()
    a.add(chunk(0, '\x1b[31mred\nstill\x1b[0m not\n', {ms: 1}))
    a.add(chunk(0, 'plain\n', {stream: 'stderr', ms: 2}))
    const spans = a.lines().flatMap((l) => (l.kind === 'text' ? l.spans : []))
    expect(spans).toEqual([
      {text: 'red', style: {color: 1}},
      {text: 'still', style: {color: 1}},
      {text: ' not', style: {}},
      {text: 'plain', style: {}},
    ])
  })
})
