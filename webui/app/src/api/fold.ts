/**
 * How what happens becomes what is shown: functions, pure but for the clock that a list's age is counted by, that fold events
 * into the lists that were read before. A run's id is a ULID, so the order of ids is the order of time, and the newest come
 * first.
 */
import {clock} from '../lib/clock.ts'
import type {JobStatus, Run, RunPage, RunState, Trigger} from './client.ts'

/** RunFilter is what the list of runs can be narrowed by; an absent key does not narrow. */
export interface RunFilter {
  job?: string
  state?: RunState
  agent?: string
  group?: string
  trigger?: Trigger
  /** `key=value`; several are apart by commas. */
  label?: string
  /** Only what was due since so long ago. */
  since?: Since
  /** Only those that ended with a result that nobody has handled yet. */
  to_handle?: '1'
}

/** The lengths of time that a list can go back, in hours. */
export const sinces = {'1h': 1, '24h': 24, '7d': 7 * 24, '30d': 30 * 24} as const
export type Since = keyof typeof sinces

/** The labels in a filter, as the server takes them; what is no label yet is left out. */
export function labelsOf(label: string | undefined): string[] | undefined {
  const all = (label ?? '').split(',').map((l) => l.trim())
  const whole = all.filter((l) => l.indexOf('=') > 0)
  return whole.length > 0 ? whole : undefined
}

/** The instant, in milliseconds, that a list goes back to; undefined if it goes back to the first. */
export function startOf(since: Since | undefined, now: number): number | undefined {
  return since && now - sinces[since] * 3_600_000
}

/** Pages is the shape in which the query cache keeps a list that is read page by page. */
export interface Pages<P> {
  pages: P[]
  pageParams: unknown[]
}

const active: ReadonlySet<RunState> = new Set(['claimed', 'running', 'waiting'])

/** Says whether nothing more is expected of a run in this state. */
export function ended(state: RunState): boolean {
  return !active.has(state)
}

/** Says whether a run belongs into the list with this filter. */
export function matches(run: Run, filter: RunFilter): boolean {
  return (
    (filter.job === undefined || run.job === filter.job) &&
    (filter.state === undefined || run.state === filter.state) &&
    (filter.agent === undefined || run.agent === filter.agent) &&
    (filter.group === undefined || run.group === filter.group) &&
    (filter.trigger === undefined || run.trigger === filter.trigger) &&
    (filter.to_handle === undefined || run.to_handle === true) &&
    (labelsOf(filter.label) ?? []).every((l) => has(run, l)) &&
    (filter.since === undefined || Date.parse(run.scheduled_at) >= startOf(filter.since, clock.now())!)
  )
}

function has(run: Run, label: string): boolean {
  const i = label.indexOf('=')
  return run.labels?.[label.slice(0, i)] === label.slice(i + 1)
}

function progress(run: Run): number {
  const state = run.state === 'claimed' ? 0 : ended(run.state) ? 2 : 1
  const attempts = run.attempts ?? []
  const waiting = run.state === 'waiting' ? 1 : 0
  const given = state < 2 || run.result === undefined ? 0 : run.handled ? 2e5 : 1e5
  return state * 1e6 + given + attempts.length * 3 + attempts.filter((a) => a.ended_at).length + waiting
}

/** The later of two sights of the same run: an answer and an event can overtake each other. The second wins a draw. */
export function later(known: Run, told: Run): Run {
  return progress(known) > progress(told) ? known : told
}

/**
 * Folds runs into pages: a run that is there is replaced in its place, or leaves if it no longer matches; a new one is
 * put in by its id. What is older than the last page read stays out while there are more pages, for they will bring it.
 * The same pages are returned if nothing changes, so that nothing is drawn again.
 */
export function foldRuns(pages: RunPage[], filter: RunFilter, told: Iterable<Run>): RunPage[] {
  let out = pages
  for (const run of told) {
    const known = out.some((page) => page.items.some((r) => r.id === run.id))
    out = known ? patchRun(out, filter, run) : insertRun(out, filter, run)
  }
  return out
}

/** Like {@link foldRuns}, but puts no new runs in: for a page that is not the first. */
export function patchRuns(pages: RunPage[], filter: RunFilter, told: Iterable<Run>): RunPage[] {
  let out = pages
  for (const run of told) out = patchRun(out, filter, run)
  return out
}

function patchRun(pages: RunPage[], filter: RunFilter, told: Run): RunPage[] {
  for (const [p, page] of pages.entries()) {
    const i = page.items.findIndex((r) => r.id === told.id)
    if (i < 0) continue
    const now = later(page.items[i]!, told)
    if (now === page.items[i]) return pages
    return pages.with(p, {...page, items: matches(now, filter) ? page.items.with(i, now) : page.items.toSpliced(i, 1)})
  }
  return pages
}

function insertRun(pages: RunPage[], filter: RunFilter, told: Run): RunPage[] {
  if (!matches(told, filter)) return pages
  for (const [p, page] of pages.entries()) {
    const i = page.items.findIndex((r) => r.id < told.id)
    if (i >= 0) return pages.with(p, {...page, items: page.items.toSpliced(i, 0, told)})
  }
  const last = pages.at(-1)
  if (!last || last.next) return pages
  return pages.with(-1, {...last, items: [...last.items, told]})
}

/**
 * Returns the job with its last run as told, or the same job if that changes nothing. A run that prepares a host is none of
 * the job's own work.
 */
export function foldLastRun(job: JobStatus, told: Run): JobStatus {
  if (told.job !== job.job.name || told.job_uid !== job.uid || told.trigger === 'prepare') return job
  const known = job.last_run
  if (known && known.id > told.id) return job
  const now = known?.id === told.id ? later(known, told) : told
  return now === known ? job : {...job, last_run: now}
}

/** Folds runs into a list of jobs; the same list is returned if nothing changes. */
export function foldLastRuns(jobs: JobStatus[], told: Iterable<Run>): JobStatus[] {
  let out = jobs
  for (const run of told) {
    const i = out.findIndex((j) => j.job.name === run.job)
    if (i < 0) continue
    const now = foldLastRun(out[i]!, run)
    if (now !== out[i]) out = out.with(i, now)
  }
  return out
}

/** Says whether a job's last run ended, and not as it should. A skipped run says nothing: it never started, on purpose. */
export function failing(job: JobStatus): boolean {
  const state = job.last_run?.state
  return state !== undefined && ended(state) && state !== 'succeeded' && state !== 'skipped'
}
