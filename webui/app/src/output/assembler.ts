/**
 * Makes lines of a run's output as it arrives: chunks of bytes, by attempt and stream, which may come twice, overlap, end in
 * the middle of a character or leave something out. Knows nothing of pages: the view asks it for lines.
 */
import type {OutputChunk} from '../api/client.ts'
import {parseLine, type Span, type Style} from './ansi.ts'

/** Line is what the view shows as one: text, or that something is missing, or that an attempt begins. */
export type Line =
  | {
      kind: 'text'
      key: number
      attempt: number
      stream: OutputChunk['stream']
      at: number
      /** Where the line begins in all that was written to the stream; its parts, if it is cut, have the same. */
      offset: number
      spans: Span[]
    }
  | {kind: 'gap'; key: number; attempt: number; stream: OutputChunk['stream']; at: number; bytes: number}
  | {kind: 'attempt'; key: number; attempt: number; at: number}

export interface Limits {
  /** Characters after which a line goes on as another: a line of megabytes would hang the page. */
  lineLength: number
  /** Lines that are kept; older ones are dropped and counted. */
  lines: number
}

export const defaultLimits: Limits = {lineLength: 8192, lines: 200_000}

/** Source is one stream of one attempt: what of it was read, and its line that has no end yet. */
interface Source {
  attempt: number
  stream: OutputChunk['stream']
  end: number
  decoder: TextDecoder
  rest: string
  style: Style
  at: number
  /** Where its line begins, and the lines after that of which nothing was put out yet. */
  start: number
  starts: number[]
  open: Extract<Line, {kind: 'text'}> | undefined
}

function decode64(data: string): Uint8Array {
  const text = atob(data)
  const out = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i)
  return out
}

export class Assembler {
  /** Lines that were dropped to stay within the limits. */
  dropped = 0
  readonly #limits: Limits
  readonly #sources = new Map<string, Source>()
  readonly #attempts = new Set<number>()
  #lines: Line[] = []
  #fresh: Line[] = []
  #nextKey = 0

  constructor(limits: Limits = defaultLimits) {
    this.#limits = limits
  }

  /** Takes a chunk. What was taken before is left out; what lies between is told as a gap. */
  add(chunk: Pick<OutputChunk, 'attempt' | 'stream' | 'offset' | 'at' | 'data'>): void {
    const source = this.#source(chunk.attempt, chunk.stream)
    // Within a stream time does not go back, or a clock that is set would shuffle its lines.
    source.at = Math.max(source.at, Date.parse(chunk.at) || 0)
    this.#begin(chunk.attempt)
    let data = decode64(chunk.data)
    const known = source.end - chunk.offset
    if (known >= data.length) return
    if (known > 0) data = data.subarray(known)
    if (known < 0) this.#gap(source, -known)
    const from = chunk.offset + Math.max(known, 0)
    if (known < 0) source.start = from
    for (let i = data.indexOf(10); i >= 0; i = data.indexOf(10, i + 1)) source.starts.push(from + i + 1)
    source.end = from + data.length
    this.#write(source, source.decoder.decode(data, {stream: true}))
  }

  /** The lines so far, the last of each stream even if it has no end yet. The array is a new one when it differs. */
  lines(): Line[] {
    if (this.#fresh.length === 0) return this.#lines
    this.#fresh.sort(order)
    const first = this.#fresh[0]!
    const last = this.#lines.at(-1)
    // Mostly what is new comes after all that is there; streams that are sent one after the other have to be merged.
    const all = [...this.#lines, ...this.#fresh]
    this.#lines = last && order(first, last) < 0 ? all.sort(order) : all
    this.#fresh = []
    const over = this.#lines.length - this.#limits.lines
    if (over > 0) {
      this.dropped += over
      this.#lines = this.#lines.slice(over)
    }
    return this.#lines
  }

  #source(attempt: number, stream: OutputChunk['stream']): Source {
    const id = `${attempt}/${stream}`
    let source = this.#sources.get(id)
    if (!source) {
      const fresh = {end: 0, decoder: new TextDecoder(), rest: '', style: {}, at: 0, start: 0, starts: [], open: undefined}
      source = {attempt, stream, ...fresh}
      this.#sources.set(id, source)
    }
    return source
  }

  /** Puts an attempt's heading before all of its lines. */
  #begin(attempt: number): void {
    if (this.#attempts.has(attempt)) return
    this.#attempts.add(attempt)
    this.#fresh.push({kind: 'attempt', key: this.#nextKey++, attempt, at: 0})
  }

  #gap(source: Source, bytes: number): void {
    const cut = source.decoder.decode()
    if (cut !== '') this.#write(source, cut)
    source.decoder = new TextDecoder()
    source.rest = ''
    source.open = undefined
    source.style = {}
    this.#fresh.push({
      kind: 'gap',
      key: this.#nextKey++,
      attempt: source.attempt,
      stream: source.stream,
      at: source.at,
      bytes,
    })
  }

  #write(source: Source, text: string): void {
    let rest = source.rest + text
    let from = 0
    for (let i = rest.indexOf('\n'); i >= 0; i = rest.indexOf('\n', from)) {
      this.#cut(source, rest.slice(from, i).replace(/\r$/, ''), true)
      source.start = source.starts.shift() ?? source.end
      from = i + 1
    }
    rest = rest.slice(from)
    while (rest.length > this.#limits.lineLength) {
      this.#cut(source, rest.slice(0, this.#limits.lineLength), true)
      rest = rest.slice(this.#limits.lineLength)
    }
    source.rest = rest
    if (rest !== '') this.#cut(source, rest, false)
  }

  /** Puts a line out; one that is not whole is put out again, longer, in the same place. */
  #cut(source: Source, text: string, whole: boolean): void {
    if (whole && text.length > this.#limits.lineLength) {
      this.#cut(source, text.slice(0, this.#limits.lineLength), true)
      this.#cut(source, text.slice(this.#limits.lineLength), true)
      return
    }
    const {spans, style} = parseLine(text, source.style)
    if (source.open) this.#replace(source, source.open, {...source.open, spans})
    else {
      const {attempt, stream, at, start: offset} = source
      source.open = {kind: 'text', key: this.#nextKey++, attempt, stream, at, offset, spans}
      this.#fresh.push(source.open)
    }
    if (!whole) return
    source.open = undefined
    source.style = style
  }

  #replace(source: Source, old: Line, now: Extract<Line, {kind: 'text'}>): void {
    source.open = now
    const fresh = this.#fresh.lastIndexOf(old)
    if (fresh >= 0) {
      this.#fresh[fresh] = now
      return
    }
    const i = this.#lines.lastIndexOf(old)
    if (i >= 0) this.#lines = this.#lines.with(i, now)
  }
}

/** By attempt, then by time; at the same time stdout is first, and the key, which grows, keeps a stream in its order. */
function order(a: Line, b: Line): number {
  return a.attempt - b.attempt || a.at - b.at || rank(a) - rank(b) || a.key - b.key
}

function rank(line: Line): number {
  return line.kind === 'attempt' ? 0 : line.stream === 'stdout' ? 1 : 2
}
