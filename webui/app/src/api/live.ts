/**
 * What happens, as it happens: one stream of events for the whole tab, since a browser opens six connections to a server at
 * most. It is closed while nobody looks, opened again with everything read afresh, and its events are handed on in batches,
 * a few a second, however many come.
 */
import type {Run} from './client.ts'

/** Batch is what was told since the batch before. */
export interface Batch {
  /** Each run as it stands now. */
  runs: Map<string, Run>
  /** Names of jobs that were defined, changed, placed or removed. */
  jobs: Set<string>
  /** Agents came or went. */
  agents: boolean
  /** Changes were left out: read everything again. */
  reset: boolean
}

/** Link is how it stands with the server: `away` is when the stream broke and could not be had again yet. */
export type Link = 'closed' | 'opening' | 'open' | 'away'

export interface LiveOptions {
  url: string
  /** Takes a batch; called at most once in `every`. */
  apply: (batch: Batch) => void
  /** Called when the stream broke: says whether to try again. It is where a session that ended is noticed. */
  retry: () => Promise<boolean>
  /** Milliseconds between two batches. */
  every: number
}

function emptyBatch(): Batch {
  return {runs: new Map(), jobs: new Set(), agents: false, reset: false}
}

const firstWait = 500
const longestWait = 4000

/** Recent keeps what was told a moment ago, for answers that an event overtook on their way. */
export class Recent {
  readonly #runs = new Map<string, {run: Run; at: number}>()

  add(run: Run): void {
    this.#runs.delete(run.id)
    this.#runs.set(run.id, {run, at: performance.now()})
    if (this.#runs.size > 500) this.#runs.delete(this.#runs.keys().next().value!)
  }

  /** The runs that were told in the last seconds: longer than an answer is on its way. */
  runs(): Run[] {
    const since = performance.now() - 10_000
    return [...this.#runs.values()].filter((r) => r.at >= since).map((r) => r.run)
  }

  run(id: string): Run | undefined {
    return this.runs().find((r) => r.id === id)
  }

  /** Forgets all: the stream broke, and what was told before may not be how it stands. */
  clear(): void {
    this.#runs.clear()
  }
}

export const recent = new Recent()

export class Live {
  #link: Link = 'closed'
  #source: EventSource | undefined
  #batch = emptyBatch()
  #flushTimer: ReturnType<typeof setTimeout> | undefined
  #openTimer: ReturnType<typeof setTimeout> | undefined
  #wait = firstWait
  #running = false
  readonly #listeners = new Set<() => void>()
  readonly #options: LiveOptions

  constructor(options: LiveOptions) {
    this.#options = options
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  readonly link = (): Link => this.#link

  /** Listens until the returned function is called. */
  run(): () => void {
    this.#running = true
    document.addEventListener('visibilitychange', this.#look)
    this.#look()
    return () => {
      this.#running = false
      document.removeEventListener('visibilitychange', this.#look)
      this.#close()
      this.#become('closed')
    }
  }

  readonly #look = () => {
    if (document.hidden) {
      this.#close()
      this.#become('closed')
    } else if (!this.#source) {
      this.#open()
    }
  }

  #open(): void {
    this.#close()
    if (this.#link !== 'away') this.#become('opening')
    const source = new EventSource(this.#options.url)
    this.#source = source
    source.onopen = () => {
      this.#wait = firstWait
      this.#become('open')
      // What happened before the stream stood was told to nobody.
      this.#batch.reset = true
      this.#flush()
    }
    source.onerror = () => this.#broke()
    source.addEventListener('run', (e) => {
      const run = JSON.parse(e.data as string) as Run
      recent.add(run)
      this.#batch.runs.set(run.id, run)
      this.#soon()
    })
    source.addEventListener('job', (e) => {
      this.#batch.jobs.add((JSON.parse(e.data as string) as {name: string}).name)
      this.#soon()
    })
    source.addEventListener('agent', () => {
      this.#batch.agents = true
      this.#soon()
    })
    source.addEventListener('reset', () => {
      this.#batch.reset = true
      this.#soon()
    })
  }

  async #broke(): Promise<void> {
    // The browser would try again by itself, but not after an answer like 503, and it says nothing of a 401.
    this.#close()
    this.#become('away')
    const again = await this.#options.retry()
    if (!again || !this.#running || document.hidden || this.#source) return
    clearTimeout(this.#openTimer)
    this.#openTimer = setTimeout(() => this.#open(), this.#wait * (0.75 + Math.random() / 2))
    this.#wait = Math.min(this.#wait * 2, longestWait)
  }

  #close(): void {
    clearTimeout(this.#openTimer)
    clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    this.#source?.close()
    this.#source = undefined
    this.#batch = emptyBatch()
    recent.clear()
  }

  #soon(): void {
    this.#flushTimer ??= setTimeout(() => this.#flush(), this.#options.every)
  }

  #flush(): void {
    clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    const batch = this.#batch
    this.#batch = emptyBatch()
    this.#options.apply(batch)
  }

  #become(link: Link): void {
    if (this.#link === link) return
    this.#link = link
    for (const listener of this.#listeners) listener()
  }
}
