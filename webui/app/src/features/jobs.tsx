import {ActionIcon, Button, Select, TextInput} from '@mantine/core'
import {useDebouncedCallback} from '@mantine/hooks'
import {
  IconAlertTriangleFilled,
  IconPlayerPauseFilled,
  IconBolt,
  IconPlayerPause,
  IconPlayerPlay,
  IconSearch,
} from '../ui/icons.ts'
import {useInfiniteQuery, useQuery} from '@tanstack/react-query'
import {getRouteApi, Link, useNavigate} from '@tanstack/react-router'
import {memo, useEffect, useMemo, useRef, useState} from 'react'
import type {JobStatus} from '../api/client.ts'
import {allJobsQuery, type JobFilter, jobsQuery, sessionQuery} from '../api/queries.ts'
import {useT} from '../i18n/index.ts'
import {entries, entryText} from '../lib/schedule.ts'
import {may, useJobActions} from '../ui/actions.tsx'
import {Code, Empty, JobLink, Loading, LoadMore, useTitle} from '../ui/Bits.tsx'
import {useAgentNames} from '../ui/RunsTable.tsx'
import {State} from '../ui/State.tsx'
import {Ago, Until} from '../ui/Time.tsx'
import {Trouble} from '../ui/Trouble.tsx'
import classes from './jobs.module.css'

const route = getRouteApi('/app/jobs')

function shows(filter: JobFilter, job: JobStatus): boolean {
  if (filter.show === 'paused') return job.job.paused === true
  if (filter.show === 'unplaced') return job.assigned === 0
  return true
}

// agentsOf names the agents that have a job, as far as the list tells them.
function agentsOf(job: JobStatus, names: Map<string, string>): string {
  return (job.assignments ?? []).map((a) => names.get(a.agent) ?? a.agent).join(', ')
}

export function JobsPage() {
  const t = useT()
  const filter = route.useSearch()
  const query = useInfiniteQuery(jobsQuery(filter))
  const {hasNextPage, isFetchingNextPage, fetchNextPage} = query
  const names = useAgentNames()
  const {data: session} = useQuery(sessionQuery)
  const jobs = useMemo(
    () => query.data?.pages.flatMap((p) => p.items).filter((j) => shows(filter, j)) ?? [],
    [query.data, filter],
  )
  useTitle(t.jobs.title)
  // The server has no such filter: all pages are looked through, so that what is shown is all there is.
  const searching = filter.show !== undefined && hasNextPage
  useEffect(() => {
    if (searching && !isFetchingNextPage) void fetchNextPage()
  }, [searching, isFetchingNextPage, fetchNextPage])

  return (
    <div className="page">
      <div className="head">
        <h1>{t.jobs.title}</h1>
        {query.data && (
          <span className="tag" role="status">
            {t.jobs.shown(jobs.length, hasNextPage)}
          </span>
        )}
      </div>
      <Filters filter={filter} />
      {query.isError && !query.data ? (
        <Trouble error={query.error} retry={() => query.refetch()} />
      ) : (
        <section className="panel" aria-label={t.jobs.title}>
          {query.isPending ? (
            <Loading />
          ) : jobs.length === 0 && !searching ? (
            <NoJobs filter={filter} />
          ) : (
            <div className="scroll">
              <table className="list">
                <caption hidden>{t.jobs.title}</caption>
                <thead>
                  <tr>
                    <th scope="col">{t.jobs.name}</th>
                    <th scope="col">{t.jobs.group}</th>
                    <th scope="col">{t.jobs.schedule}</th>
                    <th scope="col">{t.jobs.next}</th>
                    <th scope="col">{t.jobs.last}</th>
                    <th scope="col">{t.jobs.agent}</th>
                    <th scope="col" className="num">
                      {t.jobs.actions}
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {jobs.map((j) => (
                    <Row
                      key={j.uid}
                      status={j}
                      agents={agentsOf(j, names)}
                      mayRun={may(session?.role).run}
                    />
                  ))}
                </tbody>
              </table>
            </div>
          )}
          {searching && (
            <p className={`dim ${classes.searching}`} role="status">
              {t.jobs.searching}
            </p>
          )}
          {hasNextPage && !searching && <LoadMore onClick={() => fetchNextPage()} busy={isFetchingNextPage} />}
        </section>
      )}
    </div>
  )
}

function Filters({filter}: {filter: JobFilter}) {
  const t = useT()
  const navigate = useNavigate({from: '/jobs'})
  const [typed, setTyped] = useState(filter.q ?? '')
  const sent = useRef(filter.q)
  const {data} = useQuery({...allJobsQuery, staleTime: 30_000})
  const groups = useMemo(() => {
    const known = new Set(data?.items.map((j) => j.job.group || 'default'))
    if (filter.group) known.add(filter.group)
    return [...known].sort()
  }, [data, filter.group])
  const narrow = (by: Partial<JobFilter>, replace = false) => navigate({search: (now) => ({...now, ...by}), replace})
  const search = useDebouncedCallback((q: string) => {
    sent.current = q || undefined
    void narrow({q: sent.current}, true)
  }, 200)
  // Going back, or clearing, changes the filter from outside; what is being typed does not.
  useEffect(() => {
    if (filter.q === sent.current) return
    sent.current = filter.q
    setTyped(filter.q ?? '')
  }, [filter.q])
  return (
    <div className="filters" role="search" aria-label={t.jobs.title}>
      <TextInput
        size="xs"
        w={260}
        data-filter
        type="search"
        aria-label={t.jobs.filter}
        placeholder={t.jobs.filter}
        leftSection={<IconSearch size={14} aria-hidden />}
        value={typed}
        onChange={(e) => {
          setTyped(e.currentTarget.value)
          search(e.currentTarget.value)
        }}
      />
      <Select
        size="xs"
        w={170}
        clearable
        searchable
        aria-label={t.jobs.group}
        placeholder={t.jobs.groupAny}
        data={groups}
        value={filter.group ?? null}
        onChange={(v) => narrow({group: v ?? undefined})}
        clearButtonProps={{'aria-label': t.common.clearFilters}}
      />
      <Select
        size="xs"
        w={170}
        allowDeselect={false}
        aria-label={t.jobs.show}
        value={filter.show ?? 'all'}
        data={[
          {value: 'all', label: t.jobs.showAll},
          {value: 'paused', label: t.jobs.showPaused},
          {value: 'unplaced', label: t.jobs.showUnplaced},
        ]}
        onChange={(v) => narrow({show: v === 'paused' || v === 'unplaced' ? v : undefined})}
      />
      {(filter.q || filter.group || filter.show) && (
        <Button size="xs" variant="subtle" onClick={() => navigate({search: {}})}>
          {t.common.clearFilters}
        </Button>
      )}
    </div>
  )
}

const Row = memo(function Row({
  status,
  agents,
  mayRun,
}: {
  status: JobStatus
  agents: string
  mayRun: boolean
}) {
  const t = useT()
  const {job, last_run: last} = status
  const more = status.assigned - (status.assignments?.length ?? 0)
  return (
    <tr>
      <td>
        <JobLink name={job.name} />
        {job.title && (
          <div className={`sub clip ${classes.title}`} title={job.title}>
            {job.title}
          </div>
        )}
      </td>
      <td>
        <Link to="/jobs" search={{group: job.group || 'default'}} className="dim">
          {job.group || 'default'}
        </Link>
      </td>
      <td>
        <Schedule status={status} />
      </td>
      <td>
        {job.paused ? (
          <span className="state off">
            <IconPlayerPauseFilled size={14} aria-hidden />
            {t.jobs.paused}
          </span>
        ) : status.next_at ? (
          <Until at={status.next_at} />
        ) : (
          <span className="dim">{t.common.none}</span>
        )}
      </td>
      <td>
        {last ? (
          <>
            <Link to="/runs/$id" params={{id: last.id}} aria-label={t.runs.open(job.name, t.state[last.state])}>
              <State state={last.state} />
            </Link>
            <span className={`dim ${classes.when}`}>
              <Ago at={last.scheduled_at} />
            </span>
          </>
        ) : (
          <span className="dim">{t.jobs.noRun}</span>
        )}
      </td>
      <td>
        {status.assigned > 0 ? (
          <span title={status.assignments?.[0]?.reason}>
            {agents}
            {more > 0 && ` ${t.job.moreAgents(more)}`}
          </span>
        ) : (
          <span className="state warn" title={status.waiting}>
            <IconAlertTriangleFilled size={14} aria-hidden />
            {t.jobs.waiting}
          </span>
        )}
      </td>
      <td className="num">{mayRun && <Actions name={job.name} paused={job.paused === true} />}</td>
    </tr>
  )
})

function Schedule({status}: {status: JobStatus}) {
  const t = useT()
  const all = entries(status.job)
  const first = all[0]
  if (!first) return <span className="dim">{t.jobs.byHandOnly}</span>
  return (
    <>
      <span className={`mono clip ${classes.schedule}`} title={all.map(entryText).join('\n')}>
        {entryText(first)}
      </span>
      {(first.timezone || all.length > 1) && (
        <div className="sub">
          {[first.timezone, all.length > 1 ? t.jobs.more(all.length - 1) : ''].filter(Boolean).join(' · ')}
        </div>
      )}
    </>
  )
}

function Actions({name, paused}: {name: string; paused: boolean}) {
  const t = useT()
  const {start, pause} = useJobActions(name)
  return (
    <span className={classes.actions}>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="md"
        loading={start.isPending}
        onClick={() => start.mutate()}
        aria-label={t.jobs.runOf(name)}
        title={t.jobs.run}
      >
        <IconBolt size={16} stroke={1.7} />
      </ActionIcon>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="md"
        loading={pause.isPending}
        onClick={() => pause.mutate(!paused)}
        aria-label={paused ? t.jobs.resumeOf(name) : t.jobs.pauseOf(name)}
        title={paused ? t.jobs.resume : t.jobs.pause}
      >
        {paused ? <IconPlayerPlay size={16} stroke={1.7} /> : <IconPlayerPause size={16} stroke={1.7} />}
      </ActionIcon>
    </span>
  )
}

const example = `jobs:
  - name: hello
    schedule: "*/5 * * * * *"
    shell:
      command: echo "hello from $CRONY_JOB"
`

function NoJobs({filter}: {filter: JobFilter}) {
  const t = useT()
  if (filter.q || filter.group)
    return (
      <Empty title={t.jobs.noMatchTitle}>
        <p>{t.jobs.noMatch}</p>
      </Empty>
    )
  if (filter.show === 'paused') return <Empty title={t.jobs.noPaused} />
  if (filter.show === 'unplaced') return <Empty title={t.jobs.noUnplaced} />
  return (
    <Empty title={t.jobs.emptyTitle}>
      <p>{t.jobs.empty}</p>
      <Code text={example} label="jobs.yaml" />
      <p>{t.jobs.emptyThen}</p>
      <Code text="crony job apply -f jobs.yaml" label={t.jobs.emptyThen} />
    </Empty>
  )
}
