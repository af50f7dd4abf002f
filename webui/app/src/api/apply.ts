/** Folds batches of events into the query cache, and decides what has to be read again, and how soon. */
import type {InfiniteData, QueryClient} from '@tanstack/react-query'
import type {JobPage, JobStatus, Run} from './client.ts'
import {foldLastRun, foldLastRuns, foldRuns, later, type RunFilter} from './fold.ts'
import type {Batch} from './live.ts'
import type {RunsData} from './queries.ts'

/** Rows of a list that only grows at its top, after which it is read again instead. */
const longest = 400

/** Milliseconds between two readings of the same thing because of events. */
const readEvery = 2000

/** Returns a function that takes batches for the cache. */
export function applyTo(queries: QueryClient): (batch: Batch) => void {
  const again = new Rereader(queries)
  return (batch) => {
    if (batch.reset) {
      again.now()
      return
    }
    if (batch.runs.size > 0) {
      applyRuns(queries, [...batch.runs.values()])
      // A run that begins or ends changes the figures and the job's next occurrence, which no event holds.
      again.soon('server', 'jobs', 'job')
    }
    if (batch.jobs.size > 0) again.soon('server', 'jobs', 'job', 'all-jobs', 'job-names')
    if (batch.agents) again.soon('server', 'agents', 'agent', 'agent-jobs', 'jobs', 'job')
  }
}

function applyRuns(queries: QueryClient, told: Run[]): void {
  for (const [key, data] of queries.getQueriesData<RunsData>({queryKey: ['runs']})) {
    if (!data) continue
    const pages = foldRuns(data.pages, key[1] as RunFilter, told)
    if (pages === data.pages) continue
    queries.setQueryData<RunsData>(key, {...data, pages})
    if ((pages[0]?.items.length ?? 0) > longest) void queries.invalidateQueries({queryKey: key, exact: true})
  }
  for (const run of told) {
    // Only what a page asked for: the cache must not hold every run that ever ended.
    if (queries.getQueryState(['run', run.id])) {
      queries.setQueryData<Run>(['run', run.id], (known) => (known ? later(known, run) : run))
    }
    queries.setQueryData<JobStatus>(['job', run.job], (known) => known && foldLastRun(known, run))
  }
  queries.setQueriesData<InfiniteData<JobPage>>({queryKey: ['jobs']}, (data) => {
    if (!data) return data
    const pages = data.pages.map((page) => foldPage(page, told))
    return pages.every((p, i) => p === data.pages[i]) ? data : {...data, pages}
  })
  queries.setQueryData<JobPage>(['all-jobs'], (page) => page && foldPage(page, told))
}

function foldPage(page: JobPage, told: Run[]): JobPage {
  const items = foldLastRuns(page.items, told)
  return items === page.items ? page : {...page, items}
}

/** Rereader marks keys as stale, each at most once in a while, so that a busy fleet is not read ten times a second. */
class Rereader {
  readonly #queries: QueryClient
  readonly #waiting = new Set<string>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #last = 0

  constructor(queries: QueryClient) {
    this.#queries = queries
  }

  /** Everything but who is signed in, at once. */
  now(): void {
    this.#waiting.clear()
    void this.#queries.invalidateQueries({predicate: (q) => q.queryKey[0] !== 'session'})
  }

  soon(...keys: string[]): void {
    for (const key of keys) this.#waiting.add(key)
    if (this.#timer) return
    this.#timer = setTimeout(() => this.#read(), Math.max(0, this.#last + readEvery - Date.now()))
  }

  #read(): void {
    this.#timer = undefined
    this.#last = Date.now()
    for (const key of this.#waiting) void this.#queries.invalidateQueries({queryKey: [key]})
    this.#waiting.clear()
  }
}
