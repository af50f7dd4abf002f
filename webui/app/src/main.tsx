import '@mantine/core/styles.css'
import '@mantine/notifications/styles.css'
import './ui/base.css'
import {MantineProvider} from '@mantine/core'
import {MutationCache, QueryCache, QueryClient, QueryClientProvider} from '@tanstack/react-query'
import {RouterProvider} from '@tanstack/react-router'
import {setNonce} from 'get-nonce'
import {createRoot} from 'react-dom/client'
import {applyTo} from './api/apply.ts'
import {Problem, unauthorized} from './api/client.ts'
import {Live} from './api/live.ts'
import {sessionQuery} from './api/queries.ts'
import {takeToken} from './features/login.tsx'
import {language} from './i18n/index.ts'
import {makeRouter} from './router.tsx'
import {theme, variables} from './ui/theme.ts'

// The server allows only styles that carry the nonce of this very page.
const nonce = document.querySelector<HTMLMetaElement>('meta[property=csp-nonce]')?.nonce ?? ''
setNonce(nonce)
document.documentElement.lang = language()

// Before the router reads the address: what it never saw, it can't keep.
let token = location.pathname === '/login' ? takeToken() : ''

const toLogin = (err: unknown) => {
  if (!unauthorized(err) || router.state.location.pathname === '/login') return
  const next = router.state.location.href
  queries.clear()
  void router.navigate({to: '/login', search: {next: next === '/' ? undefined : next}, replace: true})
}

const queries = new QueryClient({
  queryCache: new QueryCache({onError: toLogin}),
  mutationCache: new MutationCache({onError: toLogin}),
  defaultOptions: {
    queries: {
      networkMode: 'always',
      refetchOnWindowFocus: false,
      retry: (failures, err) => failures < 2 && !(err instanceof Problem && err.status < 500),
    },
    mutations: {networkMode: 'always'},
  },
})

const live = new Live({
  url: '/api/v1/events',
  apply: applyTo(queries),
  every: 250,
  retry: async () => {
    try {
      await queries.fetchQuery({...sessionQuery, staleTime: 0, retry: false})
    } catch (err) {
      return !unauthorized(err)
    }
    return true
  },
})

const router = makeRouter({
  queries,
  live,
  linkToken: () => {
    const once = token
    token = ''
    return once
  },
})

createRoot(document.getElementById('root')!).render(
  <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto" getStyleNonce={() => nonce}>
    <QueryClientProvider client={queries}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </MantineProvider>,
)
