import {IconAlertTriangleFilled, IconPlayerPauseFilled, IconCalendarTime} from '../ui/icons.ts'
import {Link} from '@tanstack/react-router'
import type {Assignment, JobStatus, Lock} from '../api/client.ts'
import {useT} from '../i18n/index.ts'
import {useAgentNames} from '../ui/RunsTable.tsx'
import {State} from '../ui/State.tsx'
import {Ago, At, Until} from '../ui/Time.tsx'
import {Labels} from './agents.tsx'

// listed is how many of a job's agents are shown.
const listed = 20

function AgentRuns({job, agent}: {job: string; agent: string}) {
  const names = useAgentNames()
  return (
    <Link to="/runs" search={{job, agent}}>
      {names.get(agent) ?? agent}
    </Link>
  )
}

function WhyThere({assignment}: {assignment: Assignment}) {
  return (
    <>
      {assignment.reason}{' '}
      <span className="dim">
        · <At at={assignment.since} />
      </span>
    </>
  )
}

/** The runs that hold the job, or that wait for it; the first of them, if they are many. */
function Holders({title, locks}: {title: string; locks: Lock[]}) {
  const t = useT()
  if (locks.length === 0) return null
  return (
    <>
      <dt>{title}</dt>
      <dd>
        {locks.slice(0, 5).map((lock) => (
          <div key={lock.run}>
            <Link to="/runs/$id" params={{id: lock.run}}>
              <span className="mono">{lock.run}</span>
            </Link>{' '}
            <span className="dim">
              · <Ago at={lock.since} />
            </span>
          </div>
        ))}
        {locks.length > 5 && <span className="dim">{t.job.moreAgents(locks.length - 5)}</span>}
      </dd>
    </>
  )
}

/** Where a job stands: when it runs next, how it went last, where it is and why. */
export function Status({status}: {status: JobStatus}) {
  const t = useT()
  const {job, assignments = [], locks = [], last_run: last} = status
  const only = assignments.length === 1 ? assignments[0] : undefined
  return (
    <section className="panel" aria-label={t.job.status}>
      <header>
        <h2>{t.job.status}</h2>
        {job.paused ? (
          <span className="state off">
            <IconPlayerPauseFilled size={14} aria-hidden />
            {t.job.paused}
          </span>
        ) : (
          <span className="state ok">
            <IconCalendarTime size={16} aria-hidden />
            {t.job.active}
          </span>
        )}
      </header>
      <dl className="facts body">
        <dt>{t.job.next}</dt>
        <dd>
          {status.next_at && !job.paused ? (
            <>
              <Until at={status.next_at} />{' '}
              <span className="dim">
                · <At at={status.next_at} />
              </span>
            </>
          ) : (
            t.common.none
          )}
        </dd>
        <dt>{t.job.last}</dt>
        <dd>
          {last ? (
            <>
              <Link to="/runs/$id" params={{id: last.id}}>
                <State state={last.state} />
              </Link>{' '}
              <span className="dim">
                · <Ago at={last.scheduled_at} />
              </span>
            </>
          ) : (
            t.jobs.noRun
          )}
        </dd>
        <Holders title={t.job.holders} locks={locks.filter((l) => !l.waits)} />
        <Holders title={t.job.queue} locks={locks.filter((l) => l.waits)} />
        {assignments.length === 0 && (
          <>
            <dt>{t.job.agent}</dt>
            <dd>
              <span className="state warn">
                <IconAlertTriangleFilled size={14} aria-hidden />
                {t.jobs.waiting}
              </span>
            </dd>
            <dt>{t.job.whyWaiting}</dt>
            <dd>{status.waiting ?? t.common.none}</dd>
          </>
        )}
        {only && (
          <>
            <dt>{t.job.agent}</dt>
            <dd>
              <AgentRuns job={job.name} agent={only.agent} />
            </dd>
            <dt>{t.job.why}</dt>
            <dd>
              <WhyThere assignment={only} />
            </dd>
          </>
        )}
        {assignments.length > 1 && (
          <>
            <dt>{t.job.agents(status.assigned)}</dt>
            <dd>
              <ul style={{listStyle: 'none', margin: 0, padding: 0}}>
                {assignments.slice(0, listed).map((a) => (
                  <li key={a.agent}>
                    <AgentRuns job={job.name} agent={a.agent} />{' '}
                    <span className="dim">
                      · <WhyThere assignment={a} />
                    </span>
                  </li>
                ))}
              </ul>
              {status.assigned > listed && <span className="dim">{t.job.moreAgents(status.assigned - listed)}</span>}
            </dd>
          </>
        )}
        <dt>{t.job.group}</dt>
        <dd>
          <Link to="/jobs" search={{group: job.group || 'default'}}>
            {job.group || 'default'}
          </Link>
        </dd>
        {job.owner && (
          <>
            <dt>{t.job.owner}</dt>
            <dd>{job.owner}</dd>
          </>
        )}
        {job.labels && (
          <>
            <dt>{t.job.labels}</dt>
            <dd>
              <Labels labels={job.labels} />
            </dd>
          </>
        )}
        {job.note && (
          <>
            <dt>{t.job.note}</dt>
            <dd>{job.note}</dd>
          </>
        )}
        <dt>{t.job.changed}</dt>
        <dd>
          <At at={status.updated_at} />
          {status.updated_by && ` ${t.job.by(status.updated_by)}`}{' '}
          <span className="dim">· {t.run.gen(status.generation)}</span>
        </dd>
      </dl>
    </section>
  )
}
