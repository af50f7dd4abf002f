import {useInfiniteQuery, useQuery} from '@tanstack/react-query'
import {Link, type LinkProps} from '@tanstack/react-router'
import {useMemo} from 'react'
import type {JobStatus, Server} from '../api/client.ts'
import {failing} from '../api/fold.ts'
import {allJobsQuery, overviewQuery, runsQuery, serverQuery} from '../api/queries.ts'
import {useLang, useT} from '../i18n/index.ts'
import {count, span} from '../lib/time.ts'
import {Empty, JobLink, Loading, useTitle} from '../ui/Bits.tsx'
import {badOf, Hours} from '../ui/Heat.tsx'
import {RunsTable} from '../ui/RunsTable.tsx'
import {State} from '../ui/State.tsx'
import {Strip} from '../ui/Strip.tsx'
import {Ago, SoFar} from '../ui/Time.tsx'
import {Trouble} from '../ui/Trouble.tsx'
import {NoRuns} from './runs.tsx'
import classes from './overview.module.css'

const allRuns = {}

export function OverviewPage() {
  const t = useT()
  useTitle(t.overview.title)
  const server = useQuery(serverQuery)
  const runs = useInfiniteQuery(runsQuery(allRuns))
  const newest = runs.data?.pages[0]?.items ?? []
  return (
    <div className="page">
      <div className="head">
        <h1>{t.overview.title}</h1>
      </div>
      {server.isError && !server.data ? (
        <Trouble error={server.error} retry={() => server.refetch()} />
      ) : (
        <Tiles server={server.data} />
      )}
      <div className={classes.columns}>
        <div>
          <LastDay />
          {newest.length > 0 && (
            <section className="panel" aria-label={t.overview.strip}>
              <header>
                <h2>{t.overview.strip}</h2>
                <span className={`dim ${classes.small}`}>{t.overview.stripHelp(Math.min(newest.length, 90))}</span>
              </header>
              <div className="body">
                <Strip runs={newest} most={90} />
              </div>
            </section>
          )}
          <RunsTable
            filter={allRuns}
            columns={['job', 'agent']}
            rows={12}
            title={t.overview.newest}
            empty={<NoRuns />}
            extra={
              <Link to="/runs" className={classes.small}>
                {t.overview.allRuns}
              </Link>
            }
          />
        </div>
        <div>
          <Failing />
          {server.data && <ThisServer server={server.data} />}
        </div>
      </div>
    </div>
  )
}

function LastDay() {
  const t = useT()
  const lang = useLang()
  const {data} = useQuery(overviewQuery)
  if (!data || !data.hours.some((h) => badOf(h.counts)[1] > 0)) return null
  const [bad, ran] = badOf(data.day.counts)
  const took = data.day.durations
  return (
    <section className="panel" aria-label={t.heat.day}>
      <header>
        <h2>{t.heat.day}</h2>
        <span className={`dim ${classes.small}`}>
          {[
            `${t.heat.today}: ${t.heat.counts(count(lang, ran), count(lang, bad))}`,
            took && t.heat.took(span(lang, took.p50 * 1000), span(lang, took.p90 * 1000)),
          ]
            .filter(Boolean)
            .join(' · ')}
        </span>
      </header>
      <div className="body">
        <Hours hours={data.hours} />
      </div>
    </section>
  )
}

function Tiles({server}: {server: Server | undefined}) {
  const t = useT()
  const lang = useLang()
  const tile = (label: string, n: number | undefined, to: LinkProps, alarm = false) => (
    <Link {...to} className={classes.tile} data-alarm={alarm && n !== undefined && n > 0}>
      <span>{label}</span>
      <strong>{n === undefined ? '–' : count(lang, n)}</strong>
    </Link>
  )
  return (
    <nav className={classes.tiles} aria-label={t.overview.title}>
      {tile(t.overview.jobs, server?.jobs, {to: '/jobs'})}
      {tile(t.overview.running, server?.running, {to: '/runs', search: {state: 'running'}})}
      {tile(t.overview.paused, server?.paused_jobs, {to: '/jobs', search: {show: 'paused'}})}
      {tile(t.overview.unplaced, server?.unplaced_jobs, {to: '/jobs', search: {show: 'unplaced'}}, true)}
      {tile(t.overview.agents, server?.agents, {to: '/agents'})}
    </nav>
  )
}

function Failing() {
  const t = useT()
  const lang = useLang()
  const query = useQuery(allJobsQuery)
  const jobs = useMemo(
    () => query.data?.items.filter(failing).sort((a, b) => (a.last_run!.id < b.last_run!.id ? 1 : -1)) ?? [],
    [query.data],
  )
  const ran = query.data?.items.some((j) => j.last_run) ?? false
  return (
    <section className="panel" aria-label={t.overview.failing}>
      <header>
        <h2>{t.overview.failing}</h2>
        {jobs.length > 0 && <span className="tag">{count(lang, jobs.length)}</span>}
      </header>
      {query.isPending ? (
        <Loading />
      ) : query.isError && !query.data ? (
        <div className="body">
          <Trouble error={query.error} retry={() => query.refetch()} />
        </div>
      ) : jobs.length === 0 ? (
        <Empty title={ran ? t.overview.noFailing : t.overview.noFailingYet} />
      ) : (
        <ul className={classes.failing}>
          {jobs.slice(0, 12).map((j) => (
            <FailingJob key={j.uid} job={j} />
          ))}
        </ul>
      )}
      {query.data?.next && (
        <p className={`dim ${classes.note}`}>{t.overview.firstOnly(count(lang, query.data.items.length))}</p>
      )}
    </section>
  )
}

function FailingJob({job}: {job: JobStatus}) {
  const run = job.last_run!
  return (
    <li>
      <div>
        <JobLink name={job.job.name} />
        <span className="dim">
          <Ago at={run.ended_at ?? run.scheduled_at} />
        </span>
      </div>
      <div>
        <Link to="/runs/$id" params={{id: run.id}}>
          <State state={run.state} size={14} />
        </Link>
        <span className="dim clip" title={run.reason}>
          {run.reason}
        </span>
      </div>
    </li>
  )
}

function ThisServer({server}: {server: Server}) {
  const t = useT()
  return (
    <section className="panel" aria-label={t.overview.server}>
      <header>
        <h2>{t.overview.server}</h2>
      </header>
      <dl className="facts body">
        <dt>{t.overview.version}</dt>
        <dd>{server.version}</dd>
        <dt>{t.overview.up}</dt>
        <dd>
          <SoFar since={server.started_at} />
        </dd>
        <dt>{t.overview.leader}</dt>
        <dd>
          {server.leader === ''
            ? t.overview.noLeader
            : server.leader === server.id
              ? t.overview.thisOne
              : server.leader}
        </dd>
        <dt>{t.overview.id}</dt>
        <dd className="mono">{server.id}</dd>
        <dt>{t.overview.cluster}</dt>
        <dd className="mono">{server.cluster}</dd>
      </dl>
    </section>
  )
}
