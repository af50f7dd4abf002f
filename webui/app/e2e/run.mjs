// The web app in a real browser, against a real server. CRONY_URL is the server, CRONY_LINK a fresh one-time sign-in link
// of it, CRONY_JOB a job that runs every second or two and prints a line that begins with "hello", and CRONY_RESULT_JOB one
// without a schedule that gives back {"rows": 3}, which is to be handled. One line is printed for each check; the first that fails ends the run with status 1. With CRONY_E2E_OUT, screenshots are written there.
import assert from 'node:assert/strict'
import {mkdirSync} from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import {join} from 'node:path'
import {assertAccessible, Ear, launch} from './browser.mjs'

const need = (name) => process.env[name] || assert.fail(`the environment variable ${name} is not set`)
const base = need('CRONY_URL').replace(/\/$/, '')
const link = need('CRONY_LINK')
const job = need('CRONY_JOB')
const giver = need('CRONY_RESULT_JOB')
const out = process.env.CRONY_E2E_OUT
const patience = 30_000
const budget = 300_000 // bytes of the first load, compressed with brotli

const options = {
  viewport: {width: 1440, height: 900},
  locale: 'en-US',
  colorScheme: 'light',
  reducedMotion: 'reduce',
  ignoreHTTPSErrors: true,
}
const refused = /status of 401 .*\/api\/v1\/session\)/
const browser = await launch()
let page
let ear

async function check(name, does) {
  const began = performance.now()
  try {
    await does()
    console.log(`ok   ${name} (${Math.round(performance.now() - began)} ms)`)
  } catch (err) {
    console.log(`FAIL ${name}\n${err.stack ?? err}`)
    for (const message of ear?.heard ?? []) console.log(`the console: ${message}`)
    if (page && out) await page.screenshot({path: join(out, 'failure.png')}).catch(() => {})
    await browser.close()
    process.exit(1)
  }
}

const path = () => new URL(page.url()).pathname
const query = () => Object.fromEntries(new URL(page.url()).searchParams)
const open = (to) => page.goto(base + to)
const heading = (name) => page.getByRole('heading', {level: 1, name}).waitFor()
const runLinks = () => page.locator('tbody a[href^="/runs/"]')
const api = (to) => page.evaluate(async (url) => (await fetch(url)).json(), `/api/v1${to}`)
const settled = async () => {
  await page.getByText('Loading…').first().waitFor({state: 'detached'})
  await page.locator('[data-link=open]').first().waitFor({state: 'attached'})
}

async function newContext(more = {}) {
  const context = await browser.newContext({...options, ...more})
  context.setDefaultTimeout(patience)
  ear = new Ear(context)
  page = await context.newPage()
  return context
}

/** Fetches url as a browser would, without unpacking it. */
function fetchPacked(url) {
  return new Promise((resolve, reject) => {
    const {get} = url.startsWith('https:') ? https : http
    get(url, {headers: {'Accept-Encoding': 'br'}, rejectUnauthorized: false}, (res) => {
      const parts = []
      res.on('data', (d) => parts.push(d))
      res.on('end', () => resolve({status: res.statusCode, headers: res.headers, body: Buffer.concat(parts)}))
      res.on('error', reject)
    }).on('error', reject)
  })
}

await check('the first load is within its budget, compressed and safe', async () => {
  const index = await fetchPacked(`${base}/`)
  assert.equal(index.status, 200)
  assert.match(index.headers['content-security-policy'] ?? '', /script-src 'self'/)
  const html = index.body.toString()
  assert.ok(!html.includes('__CSP_NONCE__'), 'the nonce was not put in')
  assert.ok(!/<script(?![^>]*\ssrc=)/.test(html), 'there is an inline script')
  let total = index.body.length
  for (const [, url] of html.matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
    const {status, headers, body} = await fetchPacked(base + url)
    assert.equal(status, 200, url)
    if (url.startsWith('/assets/')) {
      assert.equal(headers['content-encoding'], 'br', `${url} is not compressed`)
    }
    total += body.length
  }
  assert.ok(total <= budget, `the first load is ${total} bytes, over ${budget}`)
  console.log(`     first load: ${total} bytes`)
})

const context = await newContext()

await check('signing in by the link takes the token out of the address', async () => {
  assert.equal(new URL(link).origin, new URL(base).origin, 'CRONY_LINK and CRONY_URL are of different origins')
  await page.goto(link)
  await heading('Overview')
  await settled()
  assert.equal(path(), '/')
  assert.equal(new URL(page.url()).hash, '')
})

await check('the link is spent', async () => {
  const [mine, myEar] = [page, ear]
  const other = await newContext()
  ear.expect(refused)
  await page.goto(link)
  await page.getByText('This sign-in link does not work any more').waitFor()
  assert.equal(path(), '/login')
  assert.equal(new URL(page.url()).hash, '')
  await page.getByLabel('API token').first().waitFor()
  ear.assertQuiet()
  await other.close()
  ;[page, ear] = [mine, myEar]
})

let seen
await check('a new run appears without a reload', async () => {
  await open('/runs')
  await heading('Runs')
  await settled()
  await page.evaluate(() => {
    window.notReloaded = true
  })
  const before = new Set(await runLinks().evaluateAll((all) => all.map((a) => a.getAttribute('href'))))
  const fresh = await page.waitForFunction(
    ([name, known]) => {
      const row = [...document.querySelectorAll('tbody tr')].find(
        (tr) =>
          tr.querySelector(`a[href="/jobs/${name}"]`) &&
          !known.includes(tr.querySelector('a').getAttribute('href')) &&
          tr.textContent.includes('Succeeded'), // the newest waits for its time
      )
      return row && row.querySelector('a').getAttribute('href')
    },
    [job, [...before]],
  )
  seen = await fresh.jsonValue()
  assert.equal(await page.evaluate(() => window.notReloaded), true)
})

await check('a run shows its state and its output', async () => {
  await page.locator(`a[href="${seen}"]`).click()
  await heading(`Run of ${job}`)
  assert.equal(path(), seen)
  await page
    .getByRole('log')
    .getByText(/^hello/)
    .first()
    .waitFor()
  await page.getByText('exit 0').first().waitFor()
})

await check('the output can be downloaded', async () => {
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', {name: 'Download'}).click(),
  ])
  assert.ok(download.suggestedFilename().startsWith(job))
  const parts = []
  for await (const part of await download.createReadStream()) parts.push(part)
  assert.match(Buffer.concat(parts).toString(), /^hello/)
})

await check('a job runs now, and its run comes into view', async () => {
  await open(`/jobs/${job}`)
  await heading(job)
  await settled()
  await page.getByRole('button', {name: 'Run now'}).click()
  const href = await page.getByRole('link', {name: 'Open the run', exact: true}).getAttribute('href')
  const row = page.locator('tbody tr', {has: page.locator(`a[href="${href}"]`)})
  await row.getByText('Succeeded').waitFor()
  assert.match(await row.textContent(), /By hand/)
  await page.getByRole('link', {name: 'Open the run', exact: true}).click()
  await page
    .getByRole('log')
    .getByText(/^hello/)
    .first()
    .waitFor()
})

await check('a result waits until it is marked as handled', async () => {
  await open('/runs?to_handle=1')
  await page.getByText('Nothing is to be handled').waitFor()
  await open(`/jobs/${giver}`)
  await page.getByRole('button', {name: 'Run now'}).click()
  const href = await page.getByRole('link', {name: 'Open the run', exact: true}).getAttribute('href')
  await open('/runs')
  await settled()
  await page.getByRole('button', {name: 'To be handled'}).click()
  await page.waitForURL((u) => u.searchParams.get('to_handle') === '1')
  const row = page.locator('tbody tr', {has: page.locator(`a[href="${href}"]`)})
  await row.getByText('To be handled').waitFor()
  await page.locator(`tbody a[href="${href}"]`).click()
  const result = page.getByRole('region', {name: 'Result'})
  await result.getByText('"rows": 3').waitFor()
  await assertAccessible(page, 'a result')
  await result.getByRole('button', {name: 'Mark as handled'}).click()
  const ask = page.getByRole('dialog', {name: 'Has its result been handled?'})
  await ask.getByLabel(/^What was done/).fill('booked')
  await ask.getByRole('button', {name: 'Mark as handled'}).click()
  await result.getByText(/^Handled by .* booked$/).waitFor()
  await result.getByRole('button', {name: 'Mark as handled'}).waitFor({state: 'detached'})
  const run = await api(href)
  assert.deepEqual([run.to_handle, run.handled.note, run.result], [undefined, 'booked', {rows: 3}])
  await open('/runs?to_handle=1')
  await page.getByText('Nothing is to be handled').waitFor()
})

await check('a job is paused and goes on', async () => {
  await open(`/jobs/${job}`)
  await page.getByRole('button', {name: 'Pause', exact: true}).click()
  const resume = page.getByRole('button', {name: 'Resume', exact: true})
  await resume.waitFor()
  assert.equal((await api(`/jobs/${job}`)).job.paused, true)
  await open('/jobs?show=paused')
  await page
    .getByRole('row')
    .filter({has: page.locator(`a[href="/jobs/${job}"]`)})
    .getByText('Paused')
    .waitFor()
  await page.getByRole('button', {name: `Resume ${job}`}).click()
  await page.locator(`tbody a[href="/jobs/${job}"]`).waitFor({state: 'detached'})
  assert.ok(!(await api(`/jobs/${job}`)).job.paused)
})

await check('filters are in the address, and back goes back', async () => {
  await open(`/runs?job=${job}&state=succeeded`)
  await settled()
  await runLinks().first().waitFor()
  assert.equal(await page.getByRole('combobox', {name: 'Job'}).inputValue(), job)
  const rows = await page.locator('tbody tr').allTextContents()
  assert.ok(rows.length > 0 && rows.every((r) => r.includes(job) && r.includes('Succeeded')), rows.join('\n'))
  await page.getByRole('combobox', {name: 'State'}).click()
  await page.getByRole('option', {name: 'Skipped'}).click()
  await page.waitForURL((u) => u.searchParams.get('state') === 'skipped')
  assert.deepEqual(query(), {job, state: 'skipped'})
  await page.goBack()
  await page.waitForURL((u) => u.searchParams.get('state') === 'succeeded')
  await runLinks().first().waitFor()
  await open('/runs?state=nonsense')
  await runLinks().first().waitFor()
})

await check('runs are narrowed by trigger, group, label and time', async () => {
  await open(`/runs?job=${job}`)
  await settled()
  await page.getByRole('combobox', {name: 'Trigger'}).click()
  await page.getByRole('option', {name: 'By hand'}).click()
  await page.getByRole('combobox', {name: 'Time'}).click()
  await page.getByRole('option', {name: 'Last hour'}).click()
  await page.getByRole('textbox', {name: 'Group'}).fill('default')
  await page.waitForURL((u) => u.searchParams.get('group') === 'default')
  assert.deepEqual(query(), {job, trigger: 'manual', since: '1h', group: 'default'})
  await runLinks().first().waitFor()
  const rows = await page.locator('tbody tr').allTextContents()
  assert.ok(rows.every((r) => r.includes('By hand')), rows.join('\n'))
  await page.getByRole('textbox', {name: 'Label'}).fill('team=nobody')
  await page.getByText('No run matches').waitFor()
  await page.getByRole('button', {name: 'Clear filters'}).last().click()
  await page.waitForURL((u) => u.search === '')
})

await check('output is found, and a hit opens its run at the line', async () => {
  await open('/search')
  await heading('Search output')
  await page.getByRole('textbox', {name: 'Text to look for'}).fill(`hello from ${job}`)
  await page.keyboard.press('Enter')
  await page.waitForURL((u) => u.searchParams.get('text') === `hello from ${job}`)
  const hit = page.locator('main a', {has: page.locator('mark')}).first()
  assert.equal(await hit.locator('mark').textContent(), `hello from ${job}`)
  await page.getByText(/^Looked at .* runs?/).waitFor()
  await hit.click()
  await heading(`Run of ${job}`)
  assert.equal(query().line, '1-stdout-0')
  await page.locator('[role=log] [data-marked]').getByText(`hello from ${job}`).waitFor()
  await open(`/search?regexp=1&text=${encodeURIComponent('^hello (from|to) [a-z]+$')}&job=${job}`)
  await page.locator('main mark').first().waitFor()
  await open('/search?text=there-is-no-such-line&since=1h')
  await page.getByText('Nothing was found').waitFor()
  ear.expect(/status of 422 .*\/outputs\/search\?pattern=\(&/) // it may be heard when the page shows it, or later
  await open('/search?regexp=1&text=(')
  await page.getByText('missing closing )').waitFor()
})

await check('a job and the overview show how the last days and hours were', async () => {
  await open(`/jobs/${job}`)
  await page.getByRole('img', {name: /last 60 days/}).waitFor()
  await open('/')
  await page.getByRole('img', {name: /last 24 hours/}).waitFor()
})

await check('an open picker stays open while rows come in', async () => {
  await open('/runs')
  await settled()
  await runLinks().first().waitFor()
  await page.getByRole('combobox', {name: 'State'}).click()
  await page.getByRole('option', {name: 'Failed'}).waitFor()
  const first = await runLinks().first().getAttribute('href')
  await page.waitForFunction((href) => document.querySelector('tbody a').getAttribute('href') !== href, first)
  assert.ok(await page.getByRole('option', {name: 'Failed'}).isVisible())
  await page.keyboard.press('Escape')
})

await check('rows hold still while they are paused', async () => {
  await page.getByRole('button', {name: 'Pause updates'}).click()
  const first = await runLinks().first().getAttribute('href')
  await page.getByRole('button', {name: /\d+ new runs?/}).waitFor()
  assert.equal(await runLinks().first().getAttribute('href'), first)
  await page.getByRole('button', {name: 'Resume updates'}).click()
  await page.waitForFunction((href) => document.querySelector('tbody a').getAttribute('href') !== href, first)
})

await check('jobs are found by name', async () => {
  await open('/jobs')
  await settled()
  await page.keyboard.press('/')
  await page.keyboard.type(job)
  await page.waitForURL((u) => u.searchParams.get('q') === job)
  await page.locator(`tbody a[href="/jobs/${job}"]`).waitFor()
  await page.keyboard.type('-there-is-no-such-job')
  await page.getByText('No job matches').waitFor()
  await page.getByRole('button', {name: 'Clear filters'}).click()
  await page.locator(`tbody a[href="/jobs/${job}"]`).waitFor()
  assert.deepEqual(query(), {})
})

await check('the keyboard goes everywhere', async () => {
  await open('/')
  await heading('Overview')
  for (const [key, name] of [
    ['j', 'Jobs'],
    ['r', 'Runs'],
    ['s', 'Search output'],
    ['a', 'Agents'],
    ['o', 'Overview'],
  ]) {
    await page.keyboard.press('g')
    await page.keyboard.press(key)
    await heading(name)
  }
  await page.keyboard.press('?')
  await page.getByRole('dialog', {name: 'Keyboard shortcuts'}).waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({state: 'detached'})
})

await check("the overview's figures lead to their lists", async () => {
  await settled()
  const {agents} = await api('/server')
  await page.getByRole('link', {name: `Agents connected ${agents}`}).click()
  await heading('Agents')
  await page.getByRole('row').nth(agents).getByText('Connected', {exact: true}).waitFor()
  await open('/')
  await page.getByRole('link', {name: /^Running now/}).click()
  await heading('Runs')
  assert.deepEqual(query(), {state: 'running'})
})

await check('deleting asks first', async () => {
  await open(`/jobs/${job}`)
  await page.getByRole('button', {name: 'Delete', exact: true}).click()
  const dialog = page.getByRole('dialog', {name: `Delete ${job}?`})
  await dialog.getByRole('button', {name: 'Cancel'}).click()
  await dialog.waitFor({state: 'detached'})
  assert.equal((await api(`/jobs/${job}`)).job.name, job)
})

await check('what does not exist is said to be missing', async () => {
  ear.expect(/status of (404|422) .*\/(there-is-no-such-job|0{26})/)
  await open('/jobs/there-is-no-such-job')
  await page.getByText('There is no such job').waitFor()
  await open('/runs/00000000000000000000000000')
  await page.getByText('There is no such run').waitFor()
  await open('/no/such/page')
  await page.getByText('There is no such page').waitFor()
})

await check('a server that is away is told of, and the page recovers by itself', async () => {
  const forget = ear.expect(/net::ERR_FAILED .*\/api\/v1\/events\)/)
  await context.route('**/api/v1/events', (route) => route.abort('failed'))
  await open('/runs')
  await page.getByText("The server can't be reached.").waitFor()
  await context.unroute('**/api/v1/events')
  await page.getByText("The server can't be reached.").waitFor({state: 'detached'})
  await settled()
  forget()
})

await check('the dark scheme stays', async () => {
  const scheme = () => page.evaluate(() => document.documentElement.dataset.mantineColorScheme)
  const choose = (name) => page.getByRole('radiogroup', {name: 'Colours'}).getByTitle(name).click()
  await choose('Dark')
  assert.equal(await scheme(), 'dark')
  await page.reload()
  await heading('Runs')
  assert.equal(await scheme(), 'dark')
  await choose('As the system')
  assert.equal(await scheme(), 'light')
})

await check('the page speaks Chinese, and goes on doing so', async () => {
  await page.getByText('简体中文').click()
  await heading('运行')
  await page.reload()
  await heading('运行')
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-CN')
  await open('/')
  await heading('概览')
  await settled()
  if (out) await page.screenshot({path: shot('overview', 'zh-CN')})
  await page.getByText('English').click()
  await heading('Overview')
})

function shot(name, kind) {
  mkdirSync(out, {recursive: true})
  return join(out, `${name}-${kind}.png`)
}

const [{id: agent}] = (await api('/agents')).items
await check('an agent tells how its host is, and is cordoned with a reason', async () => {
  await open('/agents')
  await page.locator(`a[href="/agents/${agent}"]`).click()
  await page.getByRole('region', {name: 'Host now'}).getByText(/ of \d+ CPUs?$/).waitFor()
  await page.getByRole('button', {name: 'Cordon'}).click()
  const ask = page.getByRole('dialog', {name: /^Cordon /})
  await ask.getByLabel('Why, for those who look at it later').fill('a new disk')
  await ask.getByRole('button', {name: 'Cordon'}).click()
  await page.getByText('a new disk').waitFor()
  await page.getByRole('button', {name: 'Uncordon'}).click()
  await page.getByRole('button', {name: 'Cordon', exact: true}).waitFor()
})

const screens = {
  overview: '/',
  jobs: '/jobs',
  job: `/jobs/${job}`,
  runs: '/runs',
  run: seen,
  agents: '/agents',
  agent: `/agents/${agent}`,
  search: '/search?text=hello',
}
for (const scheme of ['light', 'dark']) {
  await page.emulateMedia({colorScheme: scheme, reducedMotion: 'reduce'})
  for (const [name, to] of Object.entries(screens)) {
    await check(`${name} is accessible in ${scheme}`, async () => {
      await open(to)
      await page.getByRole('heading', {level: 1}).waitFor()
      await settled()
      if (name === 'run')
        await page
          .getByRole('log')
          .getByText(/^hello/)
          .first()
          .waitFor()
      if (name === 'search') await page.locator('main mark').first().waitFor()
      if (out) await page.screenshot({path: shot(name, scheme)})
      await assertAccessible(page, `${name}, ${scheme}`)
    })
  }
}

await check('signing out ends the session, and leads back after the next', async () => {
  await page.getByRole('button', {name: 'Sign out'}).click()
  await heading('Sign in to crony')
  const forget = ear.expect(refused)
  await open(`/runs?job=${job}`)
  await heading('Sign in to crony')
  assert.equal(query().next, `/runs?job=${job}`)
  forget()
})

for (const scheme of ['light', 'dark']) {
  await check(`login is accessible in ${scheme}`, async () => {
    await page.emulateMedia({colorScheme: scheme, reducedMotion: 'reduce'})
    await open('/login')
    await heading('Sign in to crony')
    if (out) await page.screenshot({path: shot('login', scheme)})
    await assertAccessible(page, `login, ${scheme}`)
  })
}

await check('the console has no errors and no violations of the policy', async () => ear.assertQuiet())
await browser.close()
