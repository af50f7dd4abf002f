package backup

import (
	"context"
	"io"
)

// writerFunc is a function that is a writer.
type writerFunc func([]byte) (int, error)

// Write implements [io.Writer].
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// readerFunc is a function that is a reader.
type readerFunc func([]byte) (int, error)

// Read implements [io.Reader].
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// steadyWriter is w until ctx is done.
func steadyWriter(ctx context.Context, w io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return w.Write(p)
	})
}

// steadyReader is r until ctx is done.
func steadyReader(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})
}

// tap remembers how much was read through it, and how that ended: what reads from it may say so in other words, or not at
// all.
type tap struct {
	r   io.Reader
	n   int64
	err error
}

// Read implements [io.Reader].
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	if t.err == nil {
		t.err = err
	}
	return n, err
}

// failed says whether reading ended otherwise than at an end.
func (t *tap) failed() bool { return t.err != nil && t.err != io.EOF } //nolint:errorlint // a reader's own end is no other

// ended says whether reading came to an end.
func (t *tap) ended() bool { return t.err == io.EOF } //nolint:errorlint // a reader's own end is no other
