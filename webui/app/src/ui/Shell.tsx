import {
  ActionIcon,
  Alert,
  AppShell,
  Burger,
  Group,
  SegmentedControl,
  useMantineColorScheme,
  VisuallyHidden,
} from '@mantine/core'
import {useDisclosure} from '@mantine/hooks'
import {
  IconCloudOff,
  IconDeviceDesktop,
  IconHistory,
  IconKeyboard,
  IconLayoutDashboard,
  IconListDetails,
  IconLogout,
  IconMoon,
  IconSearch,
  IconServer2,
  IconSun,
} from './icons.ts'
import {useQuery} from '@tanstack/react-query'
import {Link, Outlet, useLocation, useNavigate} from '@tanstack/react-router'
import {useEffect, useState, useSyncExternalStore} from 'react'
import type {Live} from '../api/live.ts'
import {sessionQuery} from '../api/queries.ts'
import {languages, setLanguage, useLang, useT} from '../i18n/index.ts'
import {useKeys} from '../lib/keys.ts'
import type {Lang} from '../lib/time.ts'
import {useSignOut} from './actions.tsx'
import {Brand} from './Brand.tsx'
import classes from './Shell.module.css'
import {ShortcutsSheet} from './Shortcuts.tsx'

const pages = [
  {to: '/', key: 'overview', icon: IconLayoutDashboard},
  {to: '/jobs', key: 'jobs', icon: IconListDetails},
  {to: '/runs', key: 'runs', icon: IconHistory},
  {to: '/search', key: 'search', icon: IconSearch},
  {to: '/agents', key: 'agents', icon: IconServer2},
] as const

/** The frame around every page of somebody who is signed in. It listens to what happens for as long as it stands. */
export function Shell({live}: {live: Live}) {
  const t = useT()
  const navigate = useNavigate()
  const {pathname} = useLocation()
  const [menu, {toggle, close}] = useDisclosure()
  const [sheet, {open: openSheet, close: closeSheet}] = useDisclosure()
  useEffect(() => live.run(), [live])
  useEffect(close, [pathname, close])
  useKeys({
    '?': openSheet,
    '/': () => document.querySelector<HTMLElement>('[data-filter]')?.focus(),
    'g o': () => navigate({to: '/'}),
    'g j': () => navigate({to: '/jobs'}),
    'g r': () => navigate({to: '/runs'}),
    'g s': () => navigate({to: '/search'}),
    'g a': () => navigate({to: '/agents'}),
  })
  return (
    <AppShell
      layout="alt"
      padding={0}
      header={{height: {base: 52, sm: 0}}}
      navbar={{width: 216, breakpoint: 'sm', collapsed: {mobile: !menu}}}
    >
      <a className="skip" href="#main">
        {t.nav.skip}
      </a>
      <AppShell.Header hiddenFrom="sm" px="sm">
        <Group h="100%">
          <Burger opened={menu} onClick={toggle} size="sm" aria-label={t.nav.toggle} />
          <Brand />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className={classes.navbar} aria-label={t.nav.main}>
        <div className={classes.brand}>
          <Brand />
          <Burger hiddenFrom="sm" opened={menu} onClick={toggle} size="sm" aria-label={t.nav.toggle} />
        </div>
        <ul className={classes.links}>
          {pages.map(({to, key, icon: Icon}) => (
            <li key={key}>
              <Link to={to} className={classes.link} activeOptions={{exact: to === '/', includeSearch: false}}>
                <Icon size={17} stroke={1.7} aria-hidden />
                {t.nav[key]}
              </Link>
            </li>
          ))}
        </ul>
        <Foot live={live} openSheet={openSheet} />
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} className={classes.main}>
        <Away live={live} />
        <Outlet />
      </AppShell.Main>
      <ShortcutsSheet opened={sheet} onClose={closeSheet} />
    </AppShell>
  )
}

function Foot({live, openSheet}: {live: Live; openSheet: () => void}) {
  const signOut = useSignOut()
  const t = useT()
  const lang = useLang()
  const {data: session} = useQuery(sessionQuery)
  const {colorScheme, setColorScheme} = useMantineColorScheme()
  const choice = (label: string, Icon: typeof IconSun) => (
    <span title={label} className={classes.choice}>
      <Icon size={15} aria-hidden />
      <VisuallyHidden>{label}</VisuallyHidden>
    </span>
  )
  return (
    <div className={classes.foot}>
      <LinkState live={live} />
      <SegmentedControl
        fullWidth
        size="xs"
        aria-label={t.nav.scheme}
        value={colorScheme}
        onChange={(v) => setColorScheme(v as typeof colorScheme)}
        data={[
          {value: 'light', label: choice(t.nav.light, IconSun)},
          {value: 'dark', label: choice(t.nav.dark, IconMoon)},
          {value: 'auto', label: choice(t.nav.auto, IconDeviceDesktop)},
        ]}
      />
      <SegmentedControl
        fullWidth
        size="xs"
        aria-label={t.nav.language}
        value={lang}
        onChange={(v) => setLanguage(v as Lang)}
        data={Object.entries(languages).map(([value, label]) => ({value, label: <span lang={value}>{label}</span>}))}
      />
      <div className={classes.person}>
        <span className="clip" title={session?.name}>
          {session && t.nav.signedIn(session.name, t.roles[session.role])}
        </span>
        <ActionIcon
          variant="subtle"
          color="gray"
          size="md"
          onClick={openSheet}
          aria-label={t.nav.shortcuts}
          title={t.nav.shortcuts}
        >
          <IconKeyboard size={17} stroke={1.7} />
        </ActionIcon>
        <ActionIcon
          variant="subtle"
          color="gray"
          size="md"
          onClick={() => signOut.mutate()}
          aria-label={t.nav.signOut}
          title={t.nav.signOut}
        >
          <IconLogout size={17} stroke={1.7} />
        </ActionIcon>
      </div>
    </div>
  )
}

function LinkState({live}: {live: Live}) {
  const t = useT()
  const link = useSyncExternalStore(live.subscribe, live.link)
  const word = link === 'open' ? t.link.live : link === 'away' ? t.link.offline : t.link.connecting
  return (
    <div className={classes.live} data-link={link} role="status">
      <i aria-hidden />
      {word}
    </div>
  )
}

/** Milliseconds a stream may be gone before it is worth a word: a server that restarts, a page that wakes up. */
const patience = 1200

/** Says that the server is away, until it is back. */
function Away({live}: {live: Live}) {
  const t = useT()
  const away = useSyncExternalStore(live.subscribe, live.link) === 'away'
  const [shown, setShown] = useState(false)
  useEffect(() => {
    if (!away) {
      setShown(false)
      return
    }
    const timer = setTimeout(() => setShown(true), patience)
    return () => clearTimeout(timer)
  }, [away])
  return (
    <div role="alert">
      {shown && (
        <Alert color="yellow" radius={0} icon={<IconCloudOff size={18} />} className={classes.away}>
          {t.link.away}
        </Alert>
      )}
    </div>
  )
}
