package main

import (
	"iter"

	"crony"
)

// pageSize is the number of items that are asked for at once: few enough that a page of large jobs is no burden.
const pageSize = 500

// pages yields the items of page after page, at most limit of them (0: all), and asks for a page only when it is needed.
// fetch gets the cursor of a page and the number of items that it may have.
func pages[T any](limit int, fetch func(cursor string, size int) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for left, cursor := limit, ""; ; {
			size := pageSize
			if limit > 0 {
				size = min(size, left)
			}
			items, next, err := fetch(cursor, size)
			if err == nil && next != "" && next == cursor {
				err = crony.Errorf(crony.Internal, "the server's next page is the page before")
			}
			if err != nil {
				yield(none, err)
				return
			}
			for i, item := range items {
				if limit > 0 && i == left || !yield(item, nil) { // a page may have a few more than asked for
					return
				}
			}
			left -= len(items)
			if next == "" || limit > 0 && left <= 0 {
				return
			}
			cursor = next
		}
	}
}

// checkLimit refuses what is no number of items.
func checkLimit(limit int) error {
	if limit < 0 {
		return crony.Errorf(crony.Invalid, "--limit is %d", limit).WithHint("give a number from 1 on, or 0 for all")
	}
	return nil
}

// each yields items that are there already.
func each[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}
