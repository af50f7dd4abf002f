import {Button, Switch, TextInput} from '@mantine/core'
import {IconSearch} from '../ui/icons.ts'
import {useInfiniteQuery} from '@tanstack/react-query'
import {getRouteApi, Link, useNavigate} from '@tanstack/react-router'
import {type FormEvent, useEffect, useMemo, useState} from 'react'
import type {OutputHit, OutputPage} from '../api/client.ts'
import {type SearchFilter, searchQuery} from '../api/queries.ts'
import {useLang, useT} from '../i18n/index.ts'
import {splitAt} from '../lib/bytes.ts'
import {bytes, count} from '../lib/time.ts'
import {parseLine} from '../output/ansi.ts'
import {Empty, JobLink, Loading, LoadMore, useTitle} from '../ui/Bits.tsx'
import {At} from '../ui/Time.tsx'
import {Trouble} from '../ui/Trouble.tsx'
import {RunFilters} from './filters.tsx'
import classes from './search.module.css'

const route = getRouteApi('/app/search')

/** Hits that are looked for before one is asked whether to go on. */
const enough = 100

export function SearchPage() {
  const t = useT()
  const filter = route.useSearch()
  const navigate = useNavigate({from: '/search'})
  const {text: _text, regexp: _regexp, ...runs} = filter
  const narrowed = Object.values(runs).some((v) => v !== undefined)
  useTitle(t.search.title)
  return (
    <div className="page">
      <div className="head">
        <h1>{t.search.title}</h1>
      </div>
      <What filter={filter} />
      <RunFilters
        filter={filter}
        narrow={(by) => navigate({search: (now) => ({...now, ...by})})}
        clear={narrowed ? () => navigate({search: ({text, regexp}) => ({text, regexp})}) : undefined}
        label={t.search.whose}
      />
      {filter.text === undefined ? (
        <section className="panel">
          <Empty title={t.search.startTitle}>
            <p>{t.search.start}</p>
          </Empty>
        </section>
      ) : (
        <Results key={JSON.stringify(filter)} filter={filter} />
      )}
    </div>
  )
}

/** What is looked for. It counts when it is sent off: a search is work. */
function What({filter}: {filter: SearchFilter}) {
  const t = useT()
  const navigate = useNavigate({from: '/search'})
  const [text, setText] = useState(filter.text ?? '')
  const [regexp, setRegexp] = useState(filter.regexp === '1')
  useEffect(() => {
    setText(filter.text ?? '')
    setRegexp(filter.regexp === '1')
  }, [filter.text, filter.regexp])
  const send = (e: FormEvent) => {
    e.preventDefault()
    void navigate({search: (now) => ({...now, text: text || undefined, regexp: regexp ? '1' : undefined})})
  }
  return (
    <form className={classes.what} onSubmit={send}>
      <TextInput
        className={classes.text}
        size="sm"
        data-filter
        aria-label={t.search.text}
        placeholder={regexp ? t.search.patternHint : t.search.textHint}
        leftSection={<IconSearch size={15} aria-hidden />}
        value={text}
        onChange={(e) => setText(e.currentTarget.value)}
      />
      <Switch size="xs" label={t.search.regexp} checked={regexp} onChange={(e) => setRegexp(e.currentTarget.checked)} />
      <Button size="sm" type="submit" disabled={text === ''}>
        {t.search.go}
      </Button>
    </form>
  )
}

function Results({filter}: {filter: SearchFilter}) {
  const t = useT()
  const query = useInfiniteQuery(searchQuery(filter))
  const {hasNextPage, isFetchingNextPage, isError, fetchNextPage} = query
  const pages = query.data?.pages
  const hits = useMemo(() => pages?.flatMap((p) => p.items) ?? [], [pages])
  const [wanted, setWanted] = useState(enough)
  // A page may be empty and still have a next one: it goes on by itself until there is something to look at.
  const going = hasNextPage && !isError && hits.length < wanted
  useEffect(() => {
    if (going && !isFetchingNextPage) void fetchNextPage()
  }, [going, isFetchingNextPage, fetchNextPage])
  if (query.isPending) return <Loading />
  return (
    <section className="panel" aria-label={t.search.results}>
      <header>
        <h2>{t.search.found(hits.length, hasNextPage)}</h2>
        <span className="grow" />
        {pages && <Progress pages={pages} going={going} stop={() => setWanted(0)} />}
      </header>
      {hits.length > 0 && <Hits hits={hits} />}
      {hits.length === 0 && !going && !isError && (
        <Empty title={t.search.noneTitle}>
          <p>{hasNextPage ? t.search.noneYet : t.search.none}</p>
        </Empty>
      )}
      {isError && (
        <div className="body">
          <Trouble error={query.error} retry={() => (pages ? fetchNextPage() : query.refetch())} />
        </div>
      )}
      {hasNextPage && !going && (
        <LoadMore onClick={() => setWanted(hits.length + enough)} busy={isFetchingNextPage} />
      )}
    </section>
  )
}

function Progress({pages, going, stop}: {pages: OutputPage[]; going: boolean; stop: () => void}) {
  const t = useT()
  const lang = useLang()
  const size = pages.reduce((n, p) => n + p.bytes, 0)
  const runs = pages.reduce((n, p) => n + p.runs, 0)
  const reached = pages.at(-1)?.reached
  return (
    <>
      <span className={`dim ${classes.small}`} role="status">
        {t.search.looked(bytes(lang, size), count(lang, runs), runs === 1)}
        {reached && (
          <>
            {t.search.backTo} <At at={reached} />
          </>
        )}
      </span>
      {going && (
        <Button size="compact-xs" variant="default" onClick={stop}>
          {t.search.stop}
        </Button>
      )}
    </>
  )
}

/** Hits of one run stand below each other. */
function Hits({hits}: {hits: OutputHit[]}) {
  const runs: OutputHit[][] = []
  for (const hit of hits) {
    const last = runs.at(-1)
    if (last && last[0]!.run === hit.run) last.push(hit)
    else runs.push([hit])
  }
  return (
    <ol className={classes.runs}>
      {runs.map((of) => (
        <li key={of[0]!.run + of[0]!.attempt + of[0]!.stream + of[0]!.offset}>
          <div className={classes.run}>
            <JobLink name={of[0]!.job} />
            <Link to="/runs/$id" params={{id: of[0]!.run}} className={classes.small}>
              <At at={of[0]!.at} />
            </Link>
          </div>
          {of.map((hit) => (
            <Hit key={`${hit.attempt}/${hit.stream}/${hit.offset}`} hit={hit} />
          ))}
        </li>
      ))}
    </ol>
  )
}

/** Text without what would set colours. */
function plain(text: string): string {
  return parseLine(text, {})
    .spans.map((s) => s.text)
    .join('')
}

function Hit({hit}: {hit: OutputHit}) {
  const t = useT()
  const [before, match, after] = splitAt(hit.line, hit.match as [number, number]).map(plain)
  return (
    <Link
      to="/runs/$id"
      params={{id: hit.run}}
      search={{line: `${hit.attempt}-${hit.stream}-${hit.offset}`}}
      className={classes.hit}
      data-stream={hit.stream}
      aria-label={t.search.open(plain(hit.line))}
    >
      {hit.before?.map((line, i) => (
        <span key={i} className={classes.around}>
          {plain(line)}
        </span>
      ))}
      <span className={classes.line}>
        {before}
        <mark>{match}</mark>
        {after}
      </span>
      {hit.after?.map((line, i) => (
        <span key={i} className={classes.around}>
          {plain(line)}
        </span>
      ))}
    </Link>
  )
}
