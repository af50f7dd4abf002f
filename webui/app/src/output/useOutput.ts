import {useEffect, useState} from 'react'
import type {OutputChunk} from '../api/client.ts'
import {Problem} from '../api/client.ts'
import {Assembler, type Line} from './assembler.ts'

export interface Output {
  lines: Line[]
  /** Lines that are not held any more. */
  dropped: number
  /** Whether all of it is here. */
  complete: boolean
  /** The stream broke; it is being opened again. */
  broken: boolean
  problem: Problem | undefined
}

const nothing: Output = {lines: [], dropped: 0, complete: false, broken: false, problem: undefined}

/** Milliseconds between two drawings of what arrives. */
const drawEvery = 100

/** Milliseconds until a stream that the server refused is asked for again. */
const retryAfter = 2000

/** Where the output of a run is; after is the id of the last event of a stream that broke off. */
export function outputURL(run: string, follow: boolean, after = ''): string {
  const params = new URLSearchParams()
  if (follow) params.set('follow', 'true')
  if (after) params.set('after', after)
  return `/api/v1/runs/${encodeURIComponent(run)}/output${params.size > 0 ? `?${params}` : ''}`
}

/**
 * Reads a run's output as it is written. The stream is closed when all of it is here, and while nobody looks: then it goes
 * on where it was.
 */
export function useOutput(run: string, wanted: boolean): Output {
  const [output, setOutput] = useState(nothing)
  useEffect(() => {
    setOutput(nothing)
    if (!wanted) return
    const assembler = new Assembler()
    let source: EventSource | undefined
    let drawTimer: ReturnType<typeof setTimeout> | undefined
    let openTimer: ReturnType<typeof setTimeout> | undefined
    let done = false
    let after = ''

    const draw = (more: Partial<Output> = {}) => {
      clearTimeout(drawTimer)
      drawTimer = undefined
      setOutput((now) => ({...now, ...more, lines: assembler.lines(), dropped: assembler.dropped}))
    }
    const close = () => {
      source?.close()
      source = undefined
      clearTimeout(openTimer)
    }
    const end = (more: Partial<Output>) => {
      done = true
      close()
      draw({broken: false, ...more})
    }
    const open = () => {
      close()
      source = new EventSource(outputURL(run, true, after))
      source.onopen = () => draw({broken: false})
      source.addEventListener('chunk', (e) => {
        assembler.add(JSON.parse(e.data as string) as OutputChunk)
        after = e.lastEventId
        drawTimer ??= setTimeout(draw, drawEvery)
      })
      source.addEventListener('end', () => end({complete: true}))
      source.addEventListener('problem', (e) => {
        const body = JSON.parse(e.data as string) as {status?: number}
        end({problem: new Problem(body.status ?? 500, body)})
      })
      source.onerror = () => {
        close()
        draw({broken: true})
        if (!document.hidden) openTimer = setTimeout(open, retryAfter)
      }
    }
    const look = () => {
      if (done) return
      if (document.hidden) close()
      else if (!source) open()
    }
    document.addEventListener('visibilitychange', look)
    look()
    return () => {
      done = true
      document.removeEventListener('visibilitychange', look)
      clearTimeout(drawTimer)
      close()
    }
  }, [run, wanted])
  return output
}

/** Reads all that is kept of a run's output, and gives its bytes: by attempt, both streams in the order of time. */
export function fetchOutput(run: string): Promise<Blob> {
  return new Promise((resolve, reject) => {
    const chunks: (Pick<OutputChunk, 'attempt'> & {at: number; bytes: Uint8Array<ArrayBuffer>})[] = []
    const source = new EventSource(outputURL(run, false))
    source.addEventListener('chunk', (e) => {
      const {attempt, at, data} = JSON.parse(e.data as string) as OutputChunk
      chunks.push({attempt, at: Date.parse(at) || 0, bytes: Uint8Array.from(atob(data), (c) => c.charCodeAt(0))})
    })
    source.addEventListener('end', () => {
      source.close()
      chunks.sort((a, b) => a.attempt - b.attempt || a.at - b.at)
      resolve(
        new Blob(
          chunks.map((c) => c.bytes),
          {type: 'text/plain'},
        ),
      )
    })
    source.addEventListener('problem', (e) => {
      source.close()
      const body = JSON.parse(e.data as string) as {status?: number}
      reject(new Problem(body.status ?? 500, body))
    })
    source.onerror = () => {
      source.close()
      reject(new TypeError('the stream broke'))
    }
  })
}
