import {Button, Group, Switch} from '@mantine/core'
import {useLocalStorage} from '@mantine/hooks'
import {IconDownload} from '../ui/icons.ts'
import {useMutation} from '@tanstack/react-query'
import {memo, useEffect, useLayoutEffect, useMemo, useRef, useState} from 'react'
import type {Run} from '../api/client.ts'
import {ended} from '../api/fold.ts'
import {useLang, useT} from '../i18n/index.ts'
import {bytes, count} from '../lib/time.ts'
import {Trouble} from '../ui/Trouble.tsx'
import type {Style} from './ansi.ts'
import type {Line} from './assembler.ts'
import classes from './Output.module.css'
import {fetchOutput, type Output, useOutput} from './useOutput.ts'

/** Lines that are shown at first, and how many more each time one asks for earlier ones. */
const atFirst = 2000
const eachTime = 20_000

/** Lines drawn as one piece, which the browser leaves out while it is out of sight. */
const blockSize = 250

/** Place is where a line begins: in all that an attempt wrote to a stream. */
export interface Place {
  attempt: number
  stream: 'stdout' | 'stderr'
  offset: number
}

/** A run's output, live while it goes on. With goTo it begins at that line, as soon as it is there. */
export function OutputView({run, goTo}: {run: Run; goTo: Place | undefined}) {
  const t = useT()
  const lang = useLang()
  const over = ended(run.state)
  const started = (run.attempts?.length ?? 0) > 0
  const output = useOutput(run.id, started)
  const [follow, setFollow] = useState(!over && !goTo)
  const [wrap, setWrap] = useLocalStorage({key: 'crony-wrap', defaultValue: true, getInitialValueInEffect: false})
  const texts = useMemo(() => output.lines.reduce((n, l) => n + (l.kind === 'text' ? 1 : 0), 0), [output.lines])
  const download = useMutation({
    mutationFn: () => fetchOutput(run.id),
    onSuccess: (blob) => save(blob, `${run.job}-${run.id}.log`),
  })
  return (
    <section className="panel" aria-label={t.run.output}>
      <header>
        <h2>{t.run.output}</h2>
        {texts > 0 && <span className={`dim ${classes.small}`}>{t.run.lines(count(lang, texts), texts === 1)}</span>}
        <span className="grow" />
        <Group gap="md">
          {!over && (
            <Switch
              size="xs"
              label={t.run.follow}
              checked={follow}
              onChange={(e) => setFollow(e.currentTarget.checked)}
            />
          )}
          <Switch size="xs" label={t.run.wrap} checked={wrap} onChange={(e) => setWrap(e.currentTarget.checked)} />
          <Button
            size="compact-xs"
            variant="default"
            leftSection={<IconDownload size={13} />}
            disabled={!started}
            loading={download.isPending}
            onClick={() => download.mutate()}
          >
            {t.run.download}
          </Button>
        </Group>
      </header>
      {output.problem && (
        <div className="body">
          <Trouble error={output.problem} />
        </div>
      )}
      {download.error && (
        <div className="body">
          <Trouble error={download.error} />
        </div>
      )}
      {output.broken && (
        <p className={classes.note} role="status">
          {t.run.broken}
        </p>
      )}
      {output.lines.length > 0 ? (
        <Lines output={output} follow={follow} setFollow={setFollow} wrap={wrap} goTo={goTo} />
      ) : (
        <p className={classes.nothing}>
          {!started && over ? t.run.never : output.complete ? t.run.noOutput : t.run.waiting}
        </p>
      )}
    </section>
  )
}

function save(blob: Blob, name: string): void {
  const a = document.createElement('a')
  a.href = URL.createObjectURL(blob)
  a.download = name
  a.click()
  // The browser has its own hold on the data once the download has begun.
  setTimeout(() => URL.revokeObjectURL(a.href), 60_000)
}

function Lines({
  output,
  follow,
  setFollow,
  wrap,
  goTo,
}: {
  output: Output
  follow: boolean
  setFollow: (on: boolean) => void
  wrap: boolean
  goTo: Place | undefined
}) {
  const t = useT()
  const lang = useLang()
  const box = useRef<HTMLDivElement>(null)
  const seen = useRef(0)
  const [limit, setLimit] = useState(atFirst)
  const {lines, dropped} = output
  const marked = useMemo(
    () => indexOf(lines, goTo),
    [lines, goTo?.attempt, goTo?.stream, goTo?.offset], // an address that is read again is the same place
  )
  const markedKey = marked >= 0 ? lines[marked]!.key : undefined
  const manyAttempts = lines.some((l) => l.kind === 'attempt' && l.attempt > 1)
  // Whole blocks from the start, so that the blocks stay the same ones while lines come in.
  const first = Math.max(0, lines.length - limit)
  const from = Math.floor((marked >= 0 ? Math.min(first, Math.max(0, marked - blockSize)) : first) / blockSize) * blockSize
  const blocks: Line[][] = []
  for (let i = from; i < lines.length; i += blockSize) blocks.push(lines.slice(i, i + blockSize))

  useLayoutEffect(() => {
    const el = box.current
    if (el && follow) el.scrollTop = el.scrollHeight
  }, [lines, follow, wrap])

  useEffect(() => {
    const el = box.current
    if (!el) return
    const scrolled = () => {
      const up = el.scrollTop < seen.current
      seen.current = el.scrollTop
      if (up && el.scrollHeight - el.scrollTop - el.clientHeight > 24) setFollow(false)
    }
    el.addEventListener('scroll', scrolled, {passive: true})
    return () => el.removeEventListener('scroll', scrolled)
  }, [setFollow])

  useEffect(() => {
    if (markedKey !== undefined) box.current?.querySelector('[data-marked]')?.scrollIntoView({block: 'center'})
  }, [markedKey])

  return (
    <>
      {dropped > 0 && <p className={classes.note}>{t.run.dropped(count(lang, dropped))}</p>}
      {from > 0 && (
        <div className={classes.earlier}>
          <Button size="compact-xs" variant="subtle" onClick={() => setLimit(limit + eachTime)}>
            {from <= eachTime
              ? t.run.showAll(count(lang, lines.length))
              : t.run.earlier(count(lang, eachTime), count(lang, lines.length))}
          </Button>
        </div>
      )}
      <div
        ref={box}
        className={classes.box}
        data-wrap={wrap}
        role="log"
        aria-live="off"
        aria-label={t.run.outputLabel}
        tabIndex={0}
      >
        {blocks.map((b, i) => (
          <Block key={from / blockSize + i} lines={b} attempts={manyAttempts} marked={markedKey} />
        ))}
      </div>
    </>
  )
}

/** Which of the lines begins at a place; -1 if none does. A long line is shown as several: the first. */
function indexOf(lines: Line[], place: Place | undefined): number {
  if (!place) return -1
  const {attempt, stream, offset} = place
  return lines.findIndex(
    (l) => l.kind === 'text' && l.attempt === attempt && l.stream === stream && l.offset === offset,
  )
}

const Block = memo(
  function Block({lines, attempts, marked}: {lines: Line[]; attempts: boolean; marked: number | undefined}) {
    return (
      <div className={classes.block}>
        {lines.map((l) => (
          <LineView key={l.key} line={l} attempts={attempts} marked={l.key === marked} />
        ))}
      </div>
    )
  },
  (a, b) =>
    a.attempts === b.attempts &&
    a.marked === b.marked &&
    a.lines.length === b.lines.length &&
    a.lines.every((l, i) => l === b.lines[i]),
)

const LineView = memo(function LineView({line, attempts, marked}: {line: Line; attempts: boolean; marked: boolean}) {
  const t = useT()
  const lang = useLang()
  if (line.kind === 'attempt')
    return attempts ? <div className={classes.attempt}>{t.run.attemptN(line.attempt)}</div> : null
  if (line.kind === 'gap') return <div className={classes.gap}>{t.run.gap(bytes(lang, line.bytes))}</div>
  return (
    <div className={classes.line} data-stream={line.stream} data-marked={marked || undefined}>
      <span className={classes.mark} title={line.stream}>
        {line.stream === 'stderr' ? t.run.err : ''}
      </span>
      <span className={classes.text}>
        {line.spans.map((s, i) => {
          const name = classOf(s.style)
          return name === '' ? (
            s.text
          ) : (
            <span key={i} className={name}>
              {s.text}
            </span>
          )
        })}
        {'\n'}
      </span>
    </div>
  )
})

function classOf(style: Style): string {
  const names = [
    style.color !== undefined && classes[`c${style.color}`],
    style.bold && classes.bold,
    style.dim && classes.dim,
    style.italic && classes.italic,
    style.underline && classes.underline,
  ]
  return names.filter(Boolean).join(' ')
}
