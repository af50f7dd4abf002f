import {useQuery} from '@tanstack/react-query'
import {Link} from '@tanstack/react-router'
import type {AgentStatus} from '../api/client.ts'
import {IconCircleCheckFilled, IconCircleXFilled, IconHandStop} from '../ui/icons.ts'
import {agentsQuery} from '../api/queries.ts'
import {useLang, useT} from '../i18n/index.ts'
import {count} from '../lib/time.ts'
import {Empty, Loading, useTitle} from '../ui/Bits.tsx'
import {Ago} from '../ui/Time.tsx'
import {Trouble} from '../ui/Trouble.tsx'

export function AgentsPage() {
  const t = useT()
  const lang = useLang()
  const query = useQuery(agentsQuery)
  const agents = query.data?.items ?? []
  useTitle(t.agents.title)
  return (
    <div className="page">
      <div className="head">
        <h1>{t.agents.title}</h1>
        {agents.length > 0 && <span className="tag">{count(lang, agents.length)}</span>}
      </div>
      {query.isError && !query.data ? (
        <Trouble error={query.error} retry={() => query.refetch()} />
      ) : (
        <section className="panel" aria-label={t.agents.title}>
          {query.isPending ? (
            <Loading />
          ) : agents.length === 0 ? (
            <Empty title={t.agents.emptyTitle}>
              <p>{t.agents.empty}</p>
            </Empty>
          ) : (
            <div className="scroll">
              <table className="list">
                <caption hidden>{t.agents.caption}</caption>
                <thead>
                  <tr>
                    <th scope="col">{t.runs.state}</th>
                    <th scope="col">{t.agents.name}</th>
                    <th scope="col">{t.agents.host}</th>
                    <th scope="col">{t.agents.system}</th>
                    <th scope="col">{t.agents.labels}</th>
                    <th scope="col" className="num">
                      {t.agents.weight}
                    </th>
                    <th scope="col" className="num">
                      {t.agents.jobs}
                    </th>
                    <th scope="col" className="num">
                      {t.agents.running}
                    </th>
                    <th scope="col">{t.agents.since}</th>
                    <th scope="col">{t.agents.server}</th>
                    <th scope="col">{t.agents.version}</th>
                  </tr>
                </thead>
                <tbody>
                  {agents.map((a) => (
                    <tr key={a.id}>
                      <td>
                        <AgentState agent={a} />
                      </td>
                      <td title={a.id}>
                        <Link to="/agents/$id" params={{id: a.id}}>
                          {a.name}
                        </Link>
                      </td>
                      <td>{a.hostname}</td>
                      <td>
                        {a.os}/{a.arch}
                      </td>
                      <td>
                        <Labels labels={a.labels} />
                      </td>
                      <td className="num">{count(lang, a.weight)}</td>
                      <td className="num">{count(lang, a.jobs)}</td>
                      <td className="num">{count(lang, a.running)}</td>
                      <td>
                        <Since agent={a} />
                      </td>
                      <td className="mono">{a.server || <span className="dim">{t.common.none}</span>}</td>
                      <td>{a.version}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </section>
      )}
    </div>
  )
}

/** Whether an agent is connected, and whether it takes jobs: icons and words, of which each says it alone. */
export function AgentState({agent}: {agent: AgentStatus}) {
  const t = useT()
  const Icon = agent.up ? IconCircleCheckFilled : IconCircleXFilled
  return (
    <span style={{display: 'inline-flex', flexWrap: 'wrap', gap: '0 10px'}}>
      <span className={`state ${agent.up ? 'ok' : 'bad'}`}>
        <Icon size={16} aria-hidden />
        {agent.up ? t.agents.connected : t.agents.down}
      </span>
      {agent.cordon && (
        <span className="state warn" title={agent.cordon.reason}>
          <IconHandStop size={16} aria-hidden />
          {agent.cordon.drain ? t.agents.drains : t.agents.isCordoned}
        </span>
      )}
    </span>
  )
}

/** When an agent connected or, if it is not connected, when it last was. */
export function Since({agent}: {agent: AgentStatus}) {
  const t = useT()
  const at = agent.up ? agent.since : agent.seen_at
  return at ? <Ago at={at} /> : <span className="dim">{t.common.none}</span>
}

export function Labels({labels}: {labels: Record<string, string> | undefined}) {
  const t = useT()
  const all = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  if (all.length === 0) return <span className="dim">{t.common.none}</span>
  return (
    <span style={{display: 'inline-flex', flexWrap: 'wrap', gap: 4}}>
      {all.map(([k, v]) => (
        <span key={k} className="tag">
          {v === '' ? k : `${k}=${v}`}
        </span>
      ))}
    </span>
  )
}
