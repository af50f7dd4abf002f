/** What the pages read, each with the key under which the cache keeps it. Live events are folded into the same keys. */
import {type InfiniteData, infiniteQueryOptions, keepPreviousData, queryOptions} from '@tanstack/react-query'
import {clock} from '../lib/clock.ts'
import {idTime} from '../lib/time.ts'
import {client, type JobPage, type OutputPage, Problem, type RunPage, unwrap} from './client.ts'
import {foldRuns, labelsOf, later, patchRuns, type RunFilter, startOf} from './fold.ts'
import {recent} from './live.ts'

/** JobFilter narrows the list of jobs; `show` is applied here, since the server has no such filter. */
export interface JobFilter {
  q?: string
  group?: string
  show?: 'paused' | 'unplaced'
}

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: ({signal}) => unwrap(client.GET('/session', {signal})),
  staleTime: Number.POSITIVE_INFINITY,
})

export const serverQuery = queryOptions({
  queryKey: ['server'],
  queryFn: async ({signal}) => {
    const asked = Date.now()
    const server = await unwrap(client.GET('/server', {signal}))
    clock.set(server.now, asked)
    return server
  },
})

/** Many enough to look through all jobs in few requests; what the server gives at most. */
const allLimit = 1000

export function jobsQuery(filter: JobFilter) {
  const limit = filter.show ? allLimit : undefined
  return infiniteQueryOptions({
    queryKey: ['jobs', filter],
    queryFn: ({signal, pageParam: cursor}) =>
      unwrap(client.GET('/jobs', {params: {query: {q: filter.q, group: filter.group, limit, cursor}}, signal})),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page: JobPage) => page.next,
    placeholderData: keepPreviousData,
  })
}

/** The first jobs by name, as many as one answer holds, for what looks at all of them. */
export const allJobsQuery = queryOptions({
  queryKey: ['all-jobs'],
  queryFn: ({signal}) => unwrap(client.GET('/jobs', {params: {query: {limit: allLimit}}, signal})),
})

/** Jobs whose name or title holds q, to choose one from. */
export function jobNamesQuery(q: string) {
  return queryOptions({
    queryKey: ['job-names', q],
    queryFn: async ({signal}) => {
      const page = await unwrap(client.GET('/jobs', {params: {query: {q: q || undefined, limit: 20}}, signal}))
      return page.items.map((j) => j.job.name)
    },
    placeholderData: keepPreviousData,
    staleTime: 10_000,
  })
}

export function jobQuery(name: string) {
  return queryOptions({
    queryKey: ['job', name],
    queryFn: ({signal}) => unwrap(client.GET('/jobs/{name}', {params: {path: {name}}, signal})),
  })
}

/** A filter as the server's parameters. */
function selection({label, since, to_handle, ...filter}: RunFilter) {
  const from = startOf(since, clock.now())
  return {...filter, to_handle: to_handle && true, label: labelsOf(label), from: from === undefined ? undefined : new Date(from).toISOString()}
}

/** SearchFilter is what to look for in output, and whose. */
export interface SearchFilter extends RunFilter {
  text?: string
  /** Whether text is a regular expression. */
  regexp?: '1'
}

/** Hits that a page of a search may have. */
const hitLimit = 100

export function searchQuery({text, regexp, ...filter}: SearchFilter) {
  const what = regexp ? {pattern: text} : {text}
  return infiniteQueryOptions({
    queryKey: ['search', text, regexp, filter],
    queryFn: ({signal, pageParam: cursor}) =>
      unwrap(
        client.GET('/outputs/search', {
          params: {query: {...selection(filter), ...what, context: 2, limit: hitLimit, cursor}},
          signal,
        }),
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page: OutputPage) => page.next,
    enabled: text !== undefined,
    // It is a question about a moment: nothing makes it asked again by itself.
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  })
}

/** Figures change with every run, and are looked at from afar. */
const figuresEvery = 30_000

export function historyQuery(job: string, days: number) {
  return queryOptions({
    queryKey: ['history', job, days],
    queryFn: ({signal}) =>
      unwrap(client.GET('/jobs/{name}/history', {params: {path: {name: job}, query: {days}}, signal})),
    refetchInterval: figuresEvery,
  })
}

export const overviewQuery = queryOptions({
  queryKey: ['overview'],
  queryFn: ({signal}) => unwrap(client.GET('/overview', {signal})),
  refetchInterval: figuresEvery,
})

export type RunsData = InfiniteData<RunPage, string | undefined>

export function runsQuery(filter: RunFilter) {
  return infiniteQueryOptions({
    queryKey: ['runs', filter],
    queryFn: async ({signal, pageParam: cursor}) => {
      const page = await unwrap(client.GET('/runs', {params: {query: {...selection(filter), cursor}}, signal}))
      // An event can overtake the answer that was on its way: what was told meanwhile is folded in once more.
      return (cursor ? patchRuns : foldRuns)([page], filter, recent.runs())[0]!
    },
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page: RunPage) => page.next,
    placeholderData: keepPreviousData,
  })
}

/** A run that was ordered exists a moment later, when its agent takes the order: for this long its absence is no error. */
const orderedFor = 30_000

/** Says whether a run that was not found may still come. */
export function mayCome(id: string, err: unknown): boolean {
  return err instanceof Problem && err.status === 404 && Math.abs(clock.now() - idTime(id)) < orderedFor
}

export function runQuery(id: string) {
  return queryOptions({
    queryKey: ['run', id],
    queryFn: async ({signal}) => {
      const run = await unwrap(client.GET('/runs/{id}', {params: {path: {id}}, signal}))
      return later(run, recent.run(id) ?? run)
    },
    refetchInterval: (query) => (mayCome(id, query.state.error) ? 1000 : false),
  })
}

export const agentsQuery = queryOptions({
  queryKey: ['agents'],
  queryFn: ({signal}) => unwrap(client.GET('/agents', {signal})),
})

export function agentQuery(agent: string) {
  return queryOptions({
    queryKey: ['agent', agent],
    queryFn: ({signal}) => unwrap(client.GET('/agents/{agent}', {params: {path: {agent}}, signal})),
  })
}

/** The first jobs that an agent has. */
export function agentJobsQuery(agent: string) {
  return queryOptions({
    queryKey: ['agent-jobs', agent],
    queryFn: ({signal}) => unwrap(client.GET('/jobs', {params: {query: {agent, limit: 100}}, signal})),
  })
}

/** How an agent's host is. The agent looks while it is asked, and the page asks only while somebody sees it. */
export function agentFiguresQuery(agent: string, up: boolean) {
  return queryOptions({
    queryKey: ['agent-figures', agent],
    queryFn: ({signal}) => unwrap(client.GET('/agents/{agent}/figures', {params: {path: {agent}}, signal})),
    enabled: up,
    refetchInterval: 2000,
    retry: false,
  })
}
