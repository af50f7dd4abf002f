/** What a person can do to a job, each told of when it is done or refused. */
import {notifications} from '@mantine/notifications'
import {useMutation, useQueryClient} from '@tanstack/react-query'
import {Link, useNavigate} from '@tanstack/react-router'
import {useT} from '../i18n/index.ts'
import {explain} from './Trouble.tsx'
import {type AgentChange, client, type Session, type StartOptions, unwrap} from '../api/client.ts'

/** What a role may do. The server decides; the page only does not offer what would be refused. */
export function may(role: Session['role'] | undefined) {
  return {run: role !== undefined && role !== 'viewer', edit: role === 'editor' || role === 'admin'}
}

function useTell() {
  const t = useT()
  const closeButtonProps = {'aria-label': t.common.close}
  return {
    done: (message: React.ReactNode) =>
      notifications.show({message, color: 'green', autoClose: 6000, closeButtonProps}),
    refused: (err: unknown) => {
      const {detail, hint} = explain(t, err)
      notifications.show({title: detail, message: hint, color: 'red', autoClose: 12_000, closeButtonProps})
    },
  }
}

/** Runs, pauses, resumes and deletes a job. */
export function useJobActions(name: string) {
  const t = useT()
  const queries = useQueryClient()
  const tell = useTell()
  const params = {params: {path: {name}}}
  const start = useMutation({
    mutationFn: (body: StartOptions | void) => unwrap(client.POST('/jobs/{name}/runs', {...params, body: body ?? {}})),
    onError: tell.refused,
    onSuccess: ({runs}) =>
      tell.done(
        <>
          {t.job.started(name)}.{' '}
          {runs.length === 1 ? (
            <Link to="/runs/$id" params={{id: runs[0]!}}>
              {t.job.openRun}
            </Link>
          ) : (
            <Link to="/runs" search={{job: name}}>
              {t.job.openRuns(runs.length)}
            </Link>
          )}
        </>,
      ),
  })
  const pause = useMutation({
    mutationFn: (paused: boolean) => unwrap(client.POST(paused ? '/jobs/{name}/pause' : '/jobs/{name}/resume', params)),
    onError: tell.refused,
    onSuccess: async (job) => {
      queries.setQueryData(['job', name], job)
      tell.done(job.job.paused ? t.job.pausedNow(name) : t.job.resumedNow(name))
      await Promise.all(['jobs', 'server'].map((key) => queries.invalidateQueries({queryKey: [key]})))
    },
  })
  const remove = useMutation({
    mutationFn: () => unwrap(client.DELETE('/jobs/{name}', params)),
    onError: tell.refused,
    onSuccess: async () => {
      tell.done(t.job.deleted(name))
      queries.removeQueries({queryKey: ['job', name]})
      await Promise.all(
        ['jobs', 'all-jobs', 'job-names', 'server'].map((key) => queries.invalidateQueries({queryKey: [key]})),
      )
    },
  })
  return {start, pause, remove}
}

/** Cordons, drains and uncordons an agent. */
export function useAgentChange(agent: string, name: string) {
  const t = useT()
  const queries = useQueryClient()
  const tell = useTell()
  return useMutation({
    mutationFn: (cordon: NonNullable<AgentChange['cordon']>) =>
      unwrap(client.PATCH('/agents/{agent}', {params: {path: {agent}}, body: {cordon}})),
    onError: tell.refused,
    onSuccess: async (status) => {
      queries.setQueryData(['agent', agent], status)
      const {cordon} = status
      tell.done(cordon ? (cordon.drain ? t.agents.draining(name) : t.agents.cordoned(name)) : t.agents.uncordoned(name))
      await queries.invalidateQueries({queryKey: ['agents']})
    },
  })
}

/** Ends a run, for a reason. */
export function useKill(id: string) {
  const t = useT()
  const tell = useTell()
  return useMutation({
    mutationFn: (reason: string) => unwrap(client.POST('/runs/{id}/kill', {params: {path: {id}}, body: {reason}})),
    onError: tell.refused,
    onSuccess: ({waits}) => tell.done(waits ? `${t.run.ending}: ${waits}` : t.run.ending),
  })
}

/** Marks a run's result as handled. If another was first, the page shows who it was. */
export function useHandle(id: string) {
  const t = useT()
  const queries = useQueryClient()
  const tell = useTell()
  return useMutation({
    mutationFn: (note: string) =>
      unwrap(client.POST('/runs/{id}/handled', {params: {path: {id}}, body: {note: note || undefined}})),
    onError: tell.refused,
    onSuccess: () => tell.done(t.run.handledNow),
    onSettled: () => Promise.all([['run', id], ['runs']].map((queryKey) => queries.invalidateQueries({queryKey}))),
  })
}

/** Ends the session. While the server can't be told, nobody is signed out, and the page doesn't say so. */
export function useSignOut() {
  const queries = useQueryClient()
  const navigate = useNavigate()
  const tell = useTell()
  return useMutation({
    mutationFn: () => unwrap(client.DELETE('/session')),
    onError: tell.refused,
    onSuccess: async () => {
      await navigate({to: '/login', replace: true})
      queries.clear()
    },
  })
}
