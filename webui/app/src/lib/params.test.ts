import {expect, test} from 'vitest'
import {paramsOf} from './params.ts'

test.each([
  ['', {}],
  ['\n  \n', {}],
  ['date=2027-01-31\nq=a=b c ', {date: '2027-01-31', q: 'a=b c '}],
  ['empty=', {empty: ''}],
  ['no value', undefined],
  ['1a=x', undefined],
  ['a=1\na=2', undefined],
])('%j', (text, want) => {
  expect(paramsOf(text)).toEqual(want)
})
