import {describe, expect, it} from 'vitest'
import {bytes, idTime, relative, span} from './time.ts'

const now = Date.parse('2027-03-01T12:00:00Z')
const s = 1000
const m = 60 * s
const h = 60 * m
const d = 24 * h

describe('relative', () => {
  it.each([
    [-300, 'now', '现在'],
    [-5 * s, '5s ago', '5秒前'],
    [5 * s, 'in 5s', '5秒后'],
    [-59 * m, '59m ago', '59分钟前'],
    [-47 * h, '47h ago', '47小时前'],
    [3 * d, 'in 3d', '3天后'],
  ])('%d ms', (ms, en, zh) => {
    expect(relative('en', now + ms, now)).toBe(en)
    expect(relative('zh-CN', now + ms, now)).toBe(zh)
  })
})

describe('span', () => {
  it.each([
    [-5, '0ms'],
    [0, '0ms'],
    [340, '340ms'],
    [1249, '1.2s'],
    [59_990, '59.9s'],
    [60 * s, '1m'],
    [3 * m + 5 * s, '3m 5s'],
    [2 * h, '2h'],
    [2 * h + 10 * m, '2h 10m'],
    [3 * d + 4 * h, '3d 4h'],
  ])('%d ms', (ms, want) => {
    expect(span('en', ms)).toBe(want)
  })

  it('speaks Chinese', () => {
    expect(span('zh-CN', 3 * m + 5 * s)).toBe('3分钟 5秒')
  })
})

describe('bytes', () => {
  it.each([
    [0, '0 B'],
    [512, '512 B'],
    [1536, '1.5 KiB'],
    [48_213, '47 KiB'],
    [16 * 1024 * 1024, '16 MiB'],
  ])('%d', (n, want) => {
    expect(bytes('en', n)).toBe(want)
  })
})

describe('idTime', () => {
  it('reads the time of a ULID', () => {
    // The specification's own example: https://github.com/ulid/spec
    expect(idTime('01ARZ3NDEKTSV4RRFFQ69G5FAV')).toBe(1_469_922_850_259)
  })
  it.each(['', '01ARZ3NDEKTSV4RRFFQ69G5FA', '01ARZ3NDEKTSV4RRFFQ69G5FAU'])('is not a number for %j', (id) => {
    expect(idTime(id)).toBeNaN()
  })
})
