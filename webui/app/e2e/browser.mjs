// What the browser test stands on: the browser itself, an ear for its console, and the scan for accessibility.
import assert from 'node:assert/strict'
import {readFileSync} from 'node:fs'
import {createRequire} from 'node:module'
import {chromium} from 'playwright-core'

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const axeTags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa']

/** Starts chromium: CHROMIUM if set, else the distribution's. */
export function launch() {
  const args = [
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ]
  if (process.getuid?.() === 0) args.push('--no-sandbox')
  return chromium.launch({executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args})
}

/**
 * Hears every error and warning of a context's pages, violations of the content security policy among them. It listens
 * from outside, since what a page keeps is lost when it navigates.
 */
export class Ear {
  #unexpected = []
  #expected = []

  constructor(context) {
    context.on('console', (m) => {
      if (m.type() === 'error' || m.type() === 'warning') this.#hear(`${m.type()}: ${m.text()} (${m.location().url})`)
    })
    context.on('weberror', (e) => this.#hear(`exception: ${e.error().stack ?? e.error()}`))
  }

  #hear(text) {
    if (!this.#expected.some((e) => e.test(text))) this.#unexpected.push(text)
  }

  /** Allows messages that match until the returned function is called: the browser itself reports each answer like 401. */
  expect(pattern) {
    this.#expected.push(pattern)
    return () => this.#expected.splice(this.#expected.indexOf(pattern), 1)
  }

  /** What was heard and not expected. */
  get heard() {
    return this.#unexpected
  }

  assertQuiet() {
    assert.deepEqual(this.#unexpected, [], 'the console has errors')
  }
}

/** Asserts that axe finds nothing on the page as it is shown now. */
export async function assertAccessible(page, where) {
  await page.evaluate(axeSource)
  const found = await page.evaluate(async (tags) => {
    const {violations} = await globalThis.axe.run(document, {
      runOnly: {type: 'tag', values: tags},
      resultTypes: ['violations'],
    })
    return violations.map(
      (v) =>
        `${v.id}: ${v.help}: ${v.nodes
          .slice(0, 5)
          .map((n) => `${n.html} ${n.any[0]?.message ?? ''}`)
          .join(' | ')}`,
    )
  }, axeTags)
  assert.deepEqual(found, [], `accessibility of ${where}`)
}
