import {Notifications} from '@mantine/notifications'
import type {QueryClient} from '@tanstack/react-query'
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  Link,
  Outlet,
  redirect,
  useRouter,
} from '@tanstack/react-router'
import {type RunState, runStates, type Trigger, triggers, unauthorized} from './api/client.ts'
import {type RunFilter, type Since, sinces} from './api/fold.ts'
import type {Live} from './api/live.ts'
import {type JobFilter, type SearchFilter, sessionQuery} from './api/queries.ts'
import {AgentPage} from './features/agent.tsx'
import {AgentsPage} from './features/agents.tsx'
import {JobPage} from './features/job.tsx'
import {JobsPage} from './features/jobs.tsx'
import {LoginPage} from './features/login.tsx'
import {OverviewPage} from './features/overview.tsx'
import {RunPage} from './features/run.tsx'
import {RunsPage} from './features/runs.tsx'
import {SearchPage} from './features/search.tsx'
import {useT} from './i18n/index.ts'
import {Empty} from './ui/Bits.tsx'
import {Shell} from './ui/Shell.tsx'
import {Trouble} from './ui/Trouble.tsx'

export interface Context {
  queries: QueryClient
  live: Live
  /** The one-time token that the page was opened with, once; then "". */
  linkToken: () => string
}

const text = (v: unknown): string | undefined => (typeof v === 'string' && v !== '' ? v : undefined)

/** A path of this site and nothing else: an address from outside must not send people away. */
export function ownPath(v: unknown): string | undefined {
  const path = text(v)
  return path && /^\/(?![/\\])/.test(path) && !path.startsWith('/login') ? path : undefined
}

const root = createRootRouteWithContext<Context>()({
  component: Root,
  notFoundComponent: NotFound,
  errorComponent: Broken,
})

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: (s: Record<string, unknown>): {next?: string} => ({next: ownPath(s.next)}),
  component: function Login() {
    return <LoginPage linkToken={login.useRouteContext().linkToken} />
  },
})

const app = createRoute({
  getParentRoute: () => root,
  id: 'app',
  beforeLoad: async ({context, location}) => {
    try {
      await context.queries.ensureQueryData(sessionQuery)
    } catch (err) {
      if (!unauthorized(err)) throw err
      throw redirect({to: '/login', search: {next: location.href === '/' ? undefined : location.href}, replace: true})
    }
  },
  component: function App() {
    return <Shell live={app.useRouteContext().live} />
  },
  notFoundComponent: NotFound,
  errorComponent: Broken,
})

const overview = createRoute({getParentRoute: () => app, path: '/', component: OverviewPage})

const jobs = createRoute({
  getParentRoute: () => app,
  path: '/jobs',
  validateSearch: (s: Record<string, unknown>): JobFilter => ({
    q: text(s.q),
    group: text(s.group),
    show: s.show === 'paused' || s.show === 'unplaced' ? s.show : undefined,
  }),
  component: JobsPage,
})

const job = createRoute({getParentRoute: () => app, path: '/jobs/$name', component: JobPage})

const runFilter = (s: Record<string, unknown>): RunFilter => ({
  job: text(s.job),
  agent: text(s.agent),
  state: runStates.includes(s.state as RunState) ? (s.state as RunState) : undefined,
  group: text(s.group),
  trigger: triggers.includes(s.trigger as Trigger) ? (s.trigger as Trigger) : undefined,
  label: text(s.label),
  to_handle: s.to_handle === '1' ? '1' : undefined,
  since: typeof s.since === 'string' && Object.hasOwn(sinces, s.since) ? (s.since as Since) : undefined,
})

const runs = createRoute({getParentRoute: () => app, path: '/runs', validateSearch: runFilter, component: RunsPage})

const search = createRoute({
  getParentRoute: () => app,
  path: '/search',
  validateSearch: (s: Record<string, unknown>): SearchFilter => ({
    ...runFilter(s),
    text: text(s.text),
    regexp: s.regexp === '1' ? '1' : undefined,
  }),
  component: SearchPage,
})

const run = createRoute({
  getParentRoute: () => app,
  path: '/runs/$id',
  validateSearch: (s: Record<string, unknown>): {line?: string} => ({line: text(s.line)}),
  component: RunPage,
})
const agents = createRoute({getParentRoute: () => app, path: '/agents', component: AgentsPage})

const agent = createRoute({getParentRoute: () => app, path: '/agents/$id', component: AgentPage})

const tree = root.addChildren([login, app.addChildren([overview, jobs, job, runs, run, search, agents, agent])])

export function makeRouter(context: Context) {
  return createRouter({
    routeTree: tree,
    context,
    scrollRestoration: true,
    defaultErrorComponent: Broken,
    defaultNotFoundComponent: NotFound,
    // Plain words in the address: the router's own form would write a job named 7 as a number.
    parseSearch: (s) => Object.fromEntries(new URLSearchParams(s)),
    stringifySearch: (s) => {
      const params = new URLSearchParams()
      for (const [k, v] of Object.entries(s)) if (v !== undefined) params.set(k, String(v))
      return params.size > 0 ? `?${params}` : ''
    },
  })
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>
  }
}

/** What is told stands inside the router, since it may hold links. */
function Root() {
  return (
    <>
      <Outlet />
      <Notifications position="bottom-right" limit={4} />
    </>
  )
}

function NotFound() {
  const t = useT()
  return (
    <div className="page">
      <Empty title={t.problem.notFound}>
        <p>{t.problem.notFoundHint}</p>
        <Link to="/">{t.nav.overview}</Link>
      </Empty>
    </div>
  )
}

function Broken({error}: {error: unknown}) {
  const t = useT()
  const router = useRouter()
  return (
    <div className="page">
      <Trouble title={t.problem.title} error={error} retry={() => void router.invalidate()} />
    </div>
  )
}
