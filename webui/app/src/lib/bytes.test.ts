import {expect, it} from 'vitest'
import {splitAt} from './bytes.ts'

it('splits a text where its bytes say', () => {
  expect(splitAt('abc', [1, 2])).toEqual(['a', 'b', 'c'])
  expect(splitAt('运行🚀!', [3, 10])).toEqual(['运', '行🚀', '!'])
  expect(splitAt('\ufeffx', [3, 4])).toEqual(['\ufeff', 'x', ''])
  expect(splitAt('', [0, 0])).toEqual(['', '', ''])
})
