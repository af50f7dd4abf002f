import {Button, Group, Modal, TextInput} from '@mantine/core'
import {useQuery} from '@tanstack/react-query'
import {getRouteApi, Link} from '@tanstack/react-router'
import {type ReactNode, useMemo, useState} from 'react'
import {type AgentStatus, type HostFigures, Problem} from '../api/client.ts'
import {agentFiguresQuery, agentJobsQuery, agentQuery, sessionQuery} from '../api/queries.ts'
import {useLang, useT} from '../i18n/index.ts'
import {bytes, count, span} from '../lib/time.ts'
import {may, useAgentChange} from '../ui/actions.tsx'
import {Copy, Empty, JobLink, Loading, useTitle} from '../ui/Bits.tsx'
import {RunsTable} from '../ui/RunsTable.tsx'
import {Ago, At} from '../ui/Time.tsx'
import {explain, Trouble} from '../ui/Trouble.tsx'
import {AgentState, Since} from './agents.tsx'
import classes from './run.module.css'

const route = getRouteApi('/app/agents/$id')

export function AgentPage() {
  const t = useT()
  const {id} = route.useParams()
  const query = useQuery(agentQuery(id))
  const agent = query.data
  useTitle(agent?.name ?? id)
  if (query.isPending)
    return (
      <div className="page">
        <Loading />
      </div>
    )
  if (query.error instanceof Problem && query.error.status === 404)
    return (
      <div className="page">
        <section className="panel">
          <Empty title={t.agents.gone}>
            <p>{t.agents.goneHint}</p>
            <Link to="/agents">{t.nav.agents}</Link>
          </Empty>
        </section>
      </div>
    )
  if (!agent)
    return (
      <div className="page">
        <Trouble error={query.error} retry={() => query.refetch()} />
      </div>
    )
  return (
    <div className="page">
      <div className="head">
        <h1>{agent.name}</h1>
        <span className={classes.state}>
          <AgentState agent={agent} />
        </span>
        <span className="grow" />
        <Actions agent={agent} />
      </div>
      <Facts agent={agent} />
      {agent.up && <Host id={agent.id} />}
      <Jobs agent={agent} />
      <Runs id={agent.id} />
    </div>
  )
}

function Actions({agent}: {agent: AgentStatus}) {
  const t = useT()
  const role = useQuery(sessionQuery).data?.role
  const change = useAgentChange(agent.id, agent.name)
  const [asks, setAsks] = useState<'cordon' | 'drain'>()
  const [reason, setReason] = useState(agent.cordon?.reason ?? '')
  if (!may(role).run) return null
  const drain = asks === 'drain'
  return (
    <>
      <Group gap="xs">
        {agent.cordon ? (
          <Button variant="default" size="xs" loading={change.isPending} onClick={() => change.mutate({on: false})}>
            {t.agents.uncordon}
          </Button>
        ) : (
          <Button variant="default" size="xs" onClick={() => setAsks('cordon')}>
            {t.agents.cordon}
          </Button>
        )}
        {!agent.cordon?.drain && (
          <Button variant="default" size="xs" onClick={() => setAsks('drain')}>
            {t.agents.drain}
          </Button>
        )}
      </Group>
      <Modal
        opened={asks !== undefined}
        onClose={() => setAsks(undefined)}
        title={drain ? t.agents.drainTitle(agent.name) : t.agents.cordonTitle(agent.name)}
        closeButtonProps={{'aria-label': t.common.close}}
      >
        <form
          onSubmit={(e) => {
            e.preventDefault()
            change.mutate({on: true, drain, reason: reason.trim()}, {onSuccess: () => setAsks(undefined)})
          }}
        >
          <p style={{margin: '0 0 16px', fontSize: '0.875rem'}}>{drain ? t.agents.drainAsk : t.agents.cordonAsk}</p>
          <TextInput
            label={t.agents.reason}
            value={reason}
            maxLength={300}
            onChange={(e) => setReason(e.currentTarget.value)}
            data-autofocus
          />
          <Group justify="flex-end" mt="md" gap="xs">
            <Button variant="default" onClick={() => setAsks(undefined)}>
              {t.common.cancel}
            </Button>
            <Button type="submit" loading={change.isPending}>
              {drain ? t.agents.drain : t.agents.cordon}
            </Button>
          </Group>
        </form>
      </Modal>
    </>
  )
}

function Fact({name, children}: {name: string; children: ReactNode}) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function Facts({agent}: {agent: AgentStatus}) {
  const t = useT()
  const lang = useLang()
  return (
    <section className={`panel ${classes.facts}`} aria-label={t.agents.details}>
      <dl>
        <Fact name={agent.up ? t.agents.connected : t.agents.seen}>
          <Since agent={agent} />
        </Fact>
        <Fact name={t.agents.host}>{agent.hostname}</Fact>
        <Fact name={t.agents.system}>
          {agent.os}/{agent.arch}
        </Fact>
        {agent.lacks?.length && (
          <Fact name={t.agents.lacks}>
            {agent.lacks.map((text) => (
              <div key={text}>{text}</div>
            ))}
          </Fact>
        )}
        <Fact name={t.agents.version}>{agent.version}</Fact>
        {agent.server && <Fact name={t.agents.server}>{agent.server}</Fact>}
        <Fact name={t.agents.weight}>
          {count(lang, agent.weight)}
          {agent.set.weight !== undefined && (
            <i>
              {' '}
              · {t.agents.setByPeople}, {t.agents.says(count(lang, agent.said.weight ?? 1))}
            </i>
          )}
        </Fact>
        {agent.max_jobs !== undefined && (
          <Fact name={t.agents.maxJobs}>
            {count(lang, agent.max_jobs)}
            {agent.set.max_jobs !== undefined && <i> · {t.agents.setByPeople}</i>}
          </Fact>
        )}
        <Fact name={t.agents.labels}>
          <LabelsFrom agent={agent} />
        </Fact>
        {agent.cordon && (
          <Fact name={agent.cordon.drain ? t.agents.drains : t.agents.isCordoned}>
            <At at={agent.cordon.at} />{' '}
            <i>
              · <Ago at={agent.cordon.at} />
              {agent.cordon.by && ` · ${t.agents.by(agent.cordon.by)}`}
            </i>
            {agent.cordon.reason && <div>{agent.cordon.reason}</div>}
          </Fact>
        )}
        <Fact name="ID">
          <span className={classes.id}>
            <span className="mono">{agent.id}</span>
            <Copy value={agent.id} />
          </span>
        </Fact>
      </dl>
    </section>
  )
}

const pair = (key: string, value: string) => (value === '' ? key : `${key}=${value}`)

/** Each label that counts, and where it is from. */
function LabelsFrom({agent}: {agent: AgentStatus}) {
  const t = useT()
  const keys = Object.keys(agent.labels ?? {}).sort()
  if (keys.length === 0) return <span className="dim">{t.common.none}</span>
  return (
    <>
      {keys.map((key) => {
        const said = agent.said.labels?.[key]
        return (
          <div key={key}>
            <span className="tag">{pair(key, agent.labels![key]!)}</span>
            {agent.set.labels?.[key] !== undefined && (
              <i>
                {' '}
                {t.agents.setByPeople}
                {said !== undefined && `, ${t.agents.says(pair(key, said))}`}
              </i>
            )}
          </div>
        )
      })}
    </>
  )
}

function Host({id}: {id: string}) {
  const t = useT()
  const query = useQuery(agentFiguresQuery(id, true))
  return (
    <section className={`panel ${classes.facts}`} aria-label={t.agents.hostNow}>
      <header>
        <h2>{t.agents.hostNow}</h2>
      </header>
      {query.data ? (
        <Figures figures={query.data} />
      ) : (
        <div className="body dim">{query.isError ? explain(t, query.error).detail : t.agents.looking}</div>
      )}
    </section>
  )
}

function Figures({figures: f}: {figures: HostFigures}) {
  const t = useT()
  const lang = useLang()
  const percent = new Intl.NumberFormat(lang, {style: 'percent'})
  const load = new Intl.NumberFormat(lang, {minimumFractionDigits: 2, maximumFractionDigits: 2})
  const used = (total: number, available: number) => t.agents.used(bytes(lang, total - available), bytes(lang, total))
  return (
    <dl>
      <Fact name={t.agents.cpu}>{t.agents.cpuOf(percent.format(f.cpu), f.cpus)}</Fact>
      <Fact name={t.agents.load}>{[f.load_1, f.load_5, f.load_15].map((n) => load.format(n)).join(' · ')}</Fact>
      <Fact name={t.agents.memory}>{used(f.memory_total, f.memory_available)}</Fact>
      <Fact name={t.agents.disk}>
        <span title={f.disk_dir}>{used(f.disk_total, f.disk_available)}</span>
      </Fact>
      <Fact name={t.agents.uptime}>{span(lang, f.uptime * 1000)}</Fact>
    </dl>
  )
}

function Jobs({agent}: {agent: AgentStatus}) {
  const t = useT()
  const lang = useLang()
  const {data} = useQuery(agentJobsQuery(agent.id))
  const shown = data?.items ?? []
  return (
    <section className="panel" aria-label={t.agents.jobs}>
      <header>
        <h2>{t.agents.jobs}</h2>
        <span className="tag">{count(lang, agent.jobs)}</span>
      </header>
      <div className="body">
        {agent.jobs === 0 && <span className="dim">{t.agents.noJobs}</span>}
        <span style={{display: 'inline-flex', flexWrap: 'wrap', gap: '4px 14px'}}>
          {shown.map((j) => (
            <JobLink key={j.job.name} name={j.job.name} />
          ))}
          {data?.next && <span className="dim">{t.agents.more(count(lang, Math.max(1, agent.jobs - shown.length)))}</span>}
        </span>
      </div>
    </section>
  )
}

function Runs({id}: {id: string}) {
  const t = useT()
  const filter = useMemo(() => ({agent: id}), [id])
  return (
    <RunsTable
      key={id}
      filter={filter}
      columns={['job', 'delay', 'trigger']}
      title={t.runs.title}
      rows={20}
      empty={
        <Empty title={t.jobs.noRun}>
          <p>{t.runs.empty}</p>
        </Empty>
      }
      extra={
        <Link to="/runs" search={filter}>
          {t.overview.allRuns}
        </Link>
      }
    />
  )
}
