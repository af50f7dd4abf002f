/**
 * One clock for the page. It ticks once a second for everything that says "5s ago", and it is set by the server's: what is
 * told are the server's times, and a reader's computer can be minutes off.
 */
import {useSyncExternalStore} from 'react'

export class Clock {
  #offset = 0
  #now = Date.now()
  #timer: ReturnType<typeof setInterval> | undefined
  readonly #listeners = new Set<() => void>()

  /** Sets the clock by an answer of the server, which took from asked to Date.now(), in milliseconds, to arrive. */
  set(serverNow: string, asked: number): void {
    const offset = Date.parse(serverNow) - (asked + Date.now()) / 2
    // A difference that small is the way's length, and correcting it would make times jump.
    this.#offset = Math.abs(offset) < 500 ? 0 : offset
  }

  /** The server's time now, in milliseconds. */
  now(): number {
    return Date.now() + this.#offset
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    this.#timer ??= setInterval(this.#tick, 1000)
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0) return
      clearInterval(this.#timer)
      this.#timer = undefined
    }
  }

  /** The time of the last tick, in milliseconds. */
  readonly ticked = (): number => this.#now

  readonly #tick = () => {
    this.#now = this.now()
    for (const listener of this.#listeners) listener()
  }
}

export const clock = new Clock()

/** The server's time, in milliseconds; the component is drawn again each second. */
export function useNow(): number {
  return useSyncExternalStore(clock.subscribe, clock.ticked)
}
