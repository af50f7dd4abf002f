/** A job's definition as a person reads it: only what it says, in words. */
import {Fragment, type ReactNode} from 'react'
import type {Job, ScheduleEntry} from '../api/client.ts'
import type {Messages} from '../i18n/en.ts'
import {useT} from '../i18n/index.ts'
import {entries, entryText} from '../lib/schedule.ts'
import {Code} from '../ui/Bits.tsx'
import classes from './job.module.css'

type Fact = [name: string, value: ReactNode]

const list = (v: string[] | undefined) => (v && v.length > 0 ? v.join(', ') : undefined)
const pairs = (v: Record<string, string> | undefined, sep: string) =>
  v && Object.keys(v).length > 0
    ? Object.entries(v).map(([k, x]) => (
        <div key={k} className="mono">
          {k}
          {sep}
          {x}
        </div>
      ))
    : undefined
const given = (facts: Fact[]) => facts.filter(([, v]) => v !== undefined && v !== '' && v !== null)

function Facts({facts}: {facts: Fact[]}) {
  return (
    <dl className="facts">
      {given(facts).map(([k, v]) => (
        <Fragment key={k}>
          <dt>{k}</dt>
          <dd>{v}</dd>
        </Fragment>
      ))}
    </dl>
  )
}

function Part({title, facts, children}: {title: string; facts: Fact[]; children?: ReactNode}) {
  const any = given(facts).length > 0
  if (!any && !children) return null
  return (
    <div className={classes.part}>
      <h3>{title}</h3>
      {children}
      {any && (
        <div style={children ? {marginTop: 10} : undefined}>
          <Facts facts={facts} />
        </div>
      )}
    </div>
  )
}

export function Definition({job}: {job: Job}) {
  const t = useT()
  const all = entries(job)
  return (
    <>
      <What job={job} />
      <Part title={t.job.when} facts={whenFacts(t, job)}>
        {all.length === 0 ? (
          <p className="dim" style={{margin: 0, fontSize: '0.8125rem'}}>
            {t.job.nothing}
          </p>
        ) : (
          all.map((e, i) => <Entry key={i} entry={e} />)
        )}
      </Part>
      <Part title={t.job.where} facts={whereFacts(t, job)} />
      <Part title={t.job.rules} facts={ruleFacts(t, job)} />
    </>
  )
}

function Entry({entry}: {entry: ScheduleEntry}) {
  const t = useT()
  const more = [
    entry.timezone,
    entry.jitter && `${t.job.jitter} ${entry.jitter}`,
    entry.starts_at && `${t.job.from} ${entry.starts_at}`,
    entry.ends_at && `${t.job.until} ${entry.ends_at}`,
  ]
    .filter(Boolean)
    .join(' · ')
  return (
    <div className={classes.entry}>
      <code>{entryText(entry)}</code>
      {more && <div>{more}</div>}
    </div>
  )
}

function What({job}: {job: Job}) {
  const t = useT()
  const {shell, http, grpc} = job
  if (http) {
    const expect = [list(http.expect?.status), http.expect?.body && `/${http.expect.body}/`].filter(Boolean).join(' · ')
    return (
      <Part
        title={t.job.http}
        facts={[
          [t.job.headers, pairs(http.headers, ': ')],
          [t.job.body, http.body && <Code text={http.body} label={t.job.body} />],
          [t.job.expect, expect],
          [t.job.tls, pairs(http.tls as Record<string, string> | undefined, ': ')],
          [t.job.async, http.async ? t.common.yes : undefined],
        ]}
      >
        <Code text={`${http.method ?? 'GET'} ${http.url}`} label={t.job.http} />
      </Part>
    )
  }
  if (grpc) {
    return (
      <Part
        title={t.job.grpc}
        facts={[
          [t.job.metadata, pairs(grpc.metadata, ': ')],
          [t.job.request, grpc.request && <Code text={JSON.stringify(grpc.request, null, 2)} label={t.job.request} />],
          [t.job.tls, pairs(grpc.tls as Record<string, string> | undefined, ': ')],
          [t.job.async, grpc.async ? t.common.yes : undefined],
        ]}
      >
        <Code text={`${grpc.target} ${grpc.method}`} label={t.job.grpc} />
      </Part>
    )
  }
  if (!shell) return null
  const text = shell.script ?? shell.command ?? shell.argv?.join(' ') ?? ''
  const title = shell.script ? t.job.script : shell.command ? t.job.shell : t.job.argv
  const {limits} = shell
  return (
    <Part
      title={title}
      facts={[
        [t.job.interpreter, shell.interpreter],
        [t.job.user, shell.user],
        [t.job.cwd, shell.cwd],
        [t.job.env, pairs(shell.env, '=')],
        [t.job.secrets, pairs(shell.secrets, ' ← ')],
        [t.job.stdin, shell.stdin],
        [t.job.umask, shell.umask],
        [
          t.job.limits,
          list(
            [
              limits?.memory && `${t.job.memory} ${limits.memory}`,
              limits?.cpu && `${limits.cpu} ${t.job.cores}`,
              limits?.pids && `${limits.pids} ${t.job.pids}`,
              limits?.output && `${t.job.output} ${limits.output}`,
            ].filter((v) => typeof v === 'string'),
          ),
        ],
        [t.job.rlimits, pairs(shell.rlimits as Record<string, string> | undefined, ' ')],
        [t.job.scripts, list(job.scripts)],
      ]}
    >
      <Code text={text} label={title} />
    </Part>
  )
}

function whenFacts(t: Messages, job: Job): Fact[] {
  const {misfire} = job
  return [
    [t.job.calendars, list(job.calendars?.map((c) => `${c.name}: ${t.job.calendar[c.on]}`))],
    [
      t.job.misfire,
      misfire &&
        list(
          [
            misfire.policy ? t.job.misfires[misfire.policy] : '',
            misfire.deadline ? t.job.misfireIn(misfire.deadline) : '',
            misfire.limit ? t.job.misfireMost(misfire.limit) : '',
          ].filter((v) => v !== ''),
        ),
    ],
  ]
}

function whereFacts(t: Messages, job: Job): Fact[] {
  const {placement: p} = job
  return [
    [t.job.mode, p?.mode && t.job.modes[p.mode]],
    [t.job.pinned, p?.agent],
    [t.job.selector, p?.selector],
    [t.job.exclude, list(p?.exclude)],
    [t.job.strategy, p?.strategy && t.job.strategies[p.strategy]],
    [t.job.failover, p?.failover === undefined ? undefined : p.failover ? t.common.yes : t.common.no],
    [t.job.disconnect, job.on_disconnect && t.job.disconnects[job.on_disconnect]],
    [t.job.lost, job.on_lost && t.job.losts[job.on_lost]],
  ]
}

function ruleFacts(t: Messages, job: Job): Fact[] {
  const {retry, notify, retention} = job
  return [
    [t.job.overlap, job.overlap && t.job.overlaps[job.overlap]],
    [t.job.parallel, job.max_parallel],
    [t.job.timeout, job.timeout],
    [t.job.runTimeout, job.run_timeout],
    [t.job.grace, job.kill_grace],
    [t.job.handle, job.handle_results && t.common.yes],
    [
      t.job.retry,
      retry &&
        list(
          [
            String(retry.attempts ?? 3),
            t.job.backoff(retry.backoff ?? 'fixed', retry.interval ?? '10s'),
            retry.max_interval ? `≤ ${retry.max_interval}` : '',
            retry.elsewhere ? t.job.elsewhere : '',
          ].filter((v) => v !== ''),
        ),
    ],
    [t.job.retryOn, list(retry?.on?.map((s) => t.state[s]))],
    [t.job.notify, notify && `${list(notify.on) ?? ''} → ${list(notify.channels) ?? ''}`],
    [
      t.job.retention,
      retention &&
        list([retention.age ?? '', retention.runs ? t.job.keep(retention.runs) : ''].filter((v) => v !== '')),
    ],
  ]
}
