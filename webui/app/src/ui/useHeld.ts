import {type RefObject, useEffect, useRef, useState} from 'react'
import type {Run} from '../api/client.ts'

/** Pixels that one may have scrolled down and still be at the top. */
const atTop = 160

/**
 * Keeps a live list still while somebody reads or uses it: rows are patched in their places, and new ones wait. It is still
 * while it is paused, scrolled away from its top, pointed at, or has the keyboard's focus in it.
 */
export function useHeld(rows: Run[], paused: boolean, body: RefObject<HTMLElement | null>) {
  const [away, setAway] = useState(false)
  const [inUse, setInUse] = useState(false)
  const top = useRef<string | undefined>(undefined)

  useEffect(() => {
    const look = () => setAway(window.scrollY > atTop)
    window.addEventListener('scroll', look, {passive: true})
    return () => window.removeEventListener('scroll', look)
  }, [])

  useEffect(() => {
    const look = () => {
      const el = body.current
      setInUse(el !== null && (el.matches(':hover') || el.contains(document.activeElement)))
    }
    const events = ['pointermove', 'pointerleave', 'focusin', 'focusout'] as const
    for (const e of events) document.addEventListener(e, look, {passive: true})
    return () => {
      for (const e of events) document.removeEventListener(e, look)
    }
  }, [body])

  const held = paused || away || inUse
  if (!held || top.current === undefined) top.current = rows[0]?.id
  const limit = top.current
  const shown = held && limit !== undefined ? rows.filter((r) => r.id <= limit) : rows
  return {
    shown,
    waiting: rows.length - shown.length,
    /** Lets the waiting rows in, once. */
    release: () => {
      top.current = rows[0]?.id
      window.scrollTo({top: 0})
    },
  }
}
