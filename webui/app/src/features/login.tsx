import {Alert, Button, Code, Loader, PasswordInput, SegmentedControl} from '@mantine/core'
import {IconAlertTriangle} from '../ui/icons.ts'
import {useQueryClient} from '@tanstack/react-query'
import {getRouteApi, useRouter} from '@tanstack/react-router'
import {type FormEvent, useCallback, useEffect, useRef, useState} from 'react'
import {client, unauthorized, unwrap} from '../api/client.ts'
import {sessionQuery} from '../api/queries.ts'
import {languages, setLanguage, useLang, useT} from '../i18n/index.ts'
import type {Lang} from '../lib/time.ts'
import {useTitle} from '../ui/Bits.tsx'
import {Brand} from '../ui/Brand.tsx'
import {explain} from '../ui/Trouble.tsx'
import classes from './login.module.css'

const route = getRouteApi('/login')

/** Takes the one-time token out of the address, so that neither the history nor a glance keeps it. */
export function takeToken(): string {
  const token = decodeURIComponent(location.hash.slice(1))
  if (token !== '') history.replaceState(history.state, '', location.pathname + location.search)
  return token
}

interface Refusal {
  error: unknown
  byLink: boolean
}

/** Signs in by a one-time link, which brings its token in the fragment, or by an API token. */
export function LoginPage({linkToken}: {linkToken: () => string}) {
  const t = useT()
  const lang = useLang()
  const {next} = route.useSearch()
  const router = useRouter()
  const queries = useQueryClient()
  const [busy, setBusy] = useState(false)
  const [refusal, setRefusal] = useState<Refusal>()
  const input = useRef<HTMLInputElement>(null)
  useTitle(t.login.submit)

  const signIn = useCallback(
    async (token: string, byLink: boolean) => {
      setBusy(true)
      setRefusal(undefined)
      try {
        const session = await unwrap(client.POST('/session', {body: {token}}))
        queries.setQueryData(sessionQuery.queryKey, session)
        router.history.replace(next ?? '/')
      } catch (error) {
        setRefusal({error, byLink})
        setBusy(false)
      }
    },
    [next, queries, router],
  )

  useEffect(() => {
    const follow = () => {
      const token = linkToken() || takeToken()
      if (token !== '') void signIn(token, true)
    }
    follow()
    // Another link pasted into the same tab changes the fragment alone and loads nothing.
    window.addEventListener('hashchange', follow)
    return () => window.removeEventListener('hashchange', follow)
  }, [linkToken, signIn])

  const submit = (e: FormEvent) => {
    e.preventDefault()
    const token = input.current?.value.trim() ?? ''
    if (token !== '') void signIn(token, false)
  }

  return (
    <main className={classes.page}>
      <div className={classes.card}>
        <Brand />
        <h1>{t.login.title}</h1>
        {refusal && <Refused {...refusal} />}
        {!refusal && !busy && next && <p className="dim">{t.login.ended}</p>}
        {busy ? (
          <p role="status" className={classes.busy}>
            <Loader size="xs" aria-hidden />
            {t.login.working}
          </p>
        ) : (
          <form onSubmit={submit}>
            <PasswordInput
              ref={input}
              label={t.login.token}
              description={t.login.help}
              autoComplete="off"
              required
              withAsterisk={false}
              data-autofocus
              visibilityToggleButtonProps={{'aria-label': t.login.show}}
            />
            <Button type="submit" fullWidth mt="md">
              {t.login.submit}
            </Button>
          </form>
        )}
        <div className={classes.help}>
          <strong>{t.login.linkHelp}</strong>
          <span>
            <Code>crony dev</Code> {t.login.linkDev}
          </span>
        </div>
      </div>
      <SegmentedControl
        size="xs"
        aria-label={t.nav.language}
        value={lang}
        onChange={(v) => setLanguage(v as Lang)}
        data={Object.entries(languages).map(([value, label]) => ({value, label: <span lang={value}>{label}</span>}))}
      />
    </main>
  )
}

function Refused({error, byLink}: Refusal) {
  const t = useT()
  const spent = unauthorized(error)
  const {detail, hint} = explain(t, error)
  const title = !spent ? t.login.failedTitle : byLink ? t.login.spentTitle : t.login.refusedTitle
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle size={18} />} title={title} role="alert">
      {spent ? (byLink ? t.login.spent : t.login.refused) : [detail, hint].filter(Boolean).join(' – ')}
    </Alert>
  )
}
