import {describe, expect, it} from 'vitest'
import {parseLine} from './ansi.ts'

const spans = (line: string) => parseLine(line).spans
const text = (line: string) =>
  spans(line)
    .map((s) => s.text)
    .join('')

describe('parseLine', () => {
  it.each([
    ['plain', [{text: 'plain', style: {}}]],
    [
      '\x1b[1;32mok\x1b[m done',
      [
        {text: 'ok', style: {bold: true, color: 2}},
        {text: ' done', style: {}},
      ],
    ],
    ['\x1b[91mx', [{text: 'x', style: {color: 9}}]],
    ['\x1b[38;5;9mx', [{text: 'x', style: {color: 9}}]],
    ['\x1b[38;5;196mx', [{text: 'x', style: {color: 9}}]],
    ['\x1b[38;2;20;160;20mx', [{text: 'x', style: {color: 2}}]],
    ['\x1b[38:5:4mx', [{text: 'x', style: {color: 4}}]],
    ['\x1b[48;5;9;1mx', [{text: 'x', style: {bold: true}}]],
    [
      '\x1b[2mx\x1b[22my',
      [
        {text: 'x', style: {dim: true}},
        {text: 'y', style: {}},
      ],
    ],
    ['\x1b[999mx', [{text: 'x', style: {}}]],
  ])('%j', (line, want) => {
    expect(
      spans(line).map((s) => ({
        ...s,
        style: JSON.parse(JSON.stringify(s.style, (_, v) => (v === false ? undefined : v))),
      })),
    ).toEqual(want)
  })

  it('leaves out what only a terminal obeys', () => {
    expect(text('\x1b]0;title\x07a\x1b[2Kb\x1b[10;20Hc\x1b(Bd\x07\x08')).toBe('abcd')
    expect(text('\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\')).toBe('link')
    expect(text('cut off \x1b[3')).toBe('cut off ')
  })

  it('shows of a progress bar what was written last', () => {
    expect(text('10%\r50%\r100%')).toBe('100%')
    expect(text('100%\r')).toBe('100%')
  })
})
