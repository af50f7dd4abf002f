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

/** A run's output, live while it goes on. */
export function OutputView({run}: {run: Run}) {
  const t = useT()
  const lang = useLang()
  const over = ended(run.state)
  const started = (run.attempts?.length ?? 0) > 0
  const output = useOutput(run.id, started)
  const [follow, setFollow] = useState(!over)
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
        <Lines output={output} follow={follow} setFollow={setFollow} wrap={wrap} />
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
}: {
  output: Output
  follow: boolean
  setFollow: (on: boolean) => void
  wrap: boolean
}) {
  const t = useT()
  const lang = useLang()
  const box = useRef<HTMLDivElement>(null)
  const seen = useRef(0)
  const [limit, setLimit] = useState(atFirst)
  const {lines, dropped} = output
  const manyAttempts = lines.some((l) => l.kind === 'attempt' && l.attempt > 1)
  // Whole blocks from the start, so that the blocks stay the same ones while lines come in.
  const from = Math.floor(Math.max(0, lines.length - limit) / blockSize) * blockSize
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
          <Block key={from / blockSize + i} lines={b} attempts={manyAttempts} />
        ))}
      </div>
    </>
  )
}

const Block = memo(
  function Block({lines, attempts}: {lines: Line[]; attempts: boolean}) {
    return (
      <div className={classes.block}>
        {lines.map((l) => (
          <LineView key={l.key} line={l} attempts={attempts} />
        ))}
      </div>
    )
  },
  (a, b) => a.attempts === b.attempts && a.lines.length === b.lines.length && a.lines.every((l, i) => l === b.lines[i]),
)

const LineView = memo(function LineView({line, attempts}: {line: Line; attempts: boolean}) {
  const t = useT()
  const lang = useLang()
  if (line.kind === 'attempt')
    return attempts ? <div className={classes.attempt}>{t.run.attemptN(line.attempt)}</div> : null
  if (line.kind === 'gap') return <div className={classes.gap}>{t.run.gap(bytes(lang, line.bytes))}</div>
  return (
    <div className={classes.line} data-stream={line.stream}>
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
