package peers

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"

	"crony"
	"crony/embedded/runlog"
	"crony/internal/wire"
)

const (
	compareTime = 10 * time.Second // for a call that compares, or for the next message of an answer
	maxDays     = 1 << 16          // in a log: a lifetime
	maxAnswer   = 32 << 20         // bytes of what a log holds of each day, and has dropped of each job
	maxItems    = 4 << 20          // of a minute
	maxFetch    = 4 << 30          // bytes of one answer
	maxDay      = 1 << 40          // bytes of a day's file
	keysBytes   = 256 << 10        // of one request
)

// Replicate sends batches to the server at an address, until ctx is done or the stream breaks; it returns why. Next waits for
// what is to be sent: batches, numbered from first; compare says that the server is to compare its log with this one's.
// It is called for the first time when the server is reached. Done is told of each batch what became of it: a nil error says
// that it is on the server's disk. Next and done are called from a goroutine each, and not any more when Replicate has
// returned.
func (c *Client) Replicate(ctx context.Context, at string,
	next func(ctx context.Context) (first uint64, batches [][]byte, compare bool, err error),
	done func(number uint64, refusal error),
) error {
	peer, err := c.at(laneReplicate, at)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	stream, err := peer.Replicate(ctx)
	if err != nil {
		return said(at, err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		end(said(at, answers(stream, done)))
	}()
	end(replicate(ctx, stream, next))
	<-answered
	return context.Cause(ctx)
}

type replicating = grpc.BidiStreamingClient[wire.ReplicateRequest, wire.ReplicateReply]

func replicate(ctx context.Context, stream replicating,
	next func(context.Context) (uint64, [][]byte, bool, error),
) error {
	for {
		first, batches, compare, err := next(ctx)
		if err != nil {
			return err
		}
		if compare {
			if err := send(ctx, stream, &wire.ReplicateRequest{Compare: true}); err != nil {
				return err
			}
		}
		for pieces := range messages(first, batches) {
			if err := send(ctx, stream, &wire.ReplicateRequest{Pieces: pieces}); err != nil {
				return err
			}
		}
	}
}

// send brings a message on its way. Why a stream is broken is said to the one who receives.
func send(ctx context.Context, stream replicating, msg *wire.ReplicateRequest) error {
	err := stream.Send(msg)
	if err == io.EOF { //nolint:errorlint // gRPC returns it as it is
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return err
}

func answers(stream replicating, done func(uint64, error)) error {
	for {
		reply, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, number := range reply.GetStored() {
			done(number, nil)
		}
		for _, r := range reply.GetRefused() {
			done(r.GetNumber(), crony.Errorf(crony.Unavailable, "%s", r.GetReason()))
		}
	}
}

// Days returns what the server at an address holds of each day, and what it has dropped: all before a day, and of each job all
// before a run. It is given what this server holds and has dropped; what is the same is given back.
func (c *Client) Days(ctx context.Context, at string, own map[string]runlog.Sum, ownFloor string, ownMarks map[string]crony.RunID,
) (days map[string]runlog.Sum, floor string, marks map[string]crony.RunID, err error) {
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	peer, err := c.at(laneBulk, at)
	if err != nil {
		return nil, "", nil, err
	}
	reply, err := peer.Days(ctx, &wire.DaysRequest{Digest: daysDigest(own), Bounds: boundsDigest(ownFloor, ownMarks)},
		grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return nil, "", nil, said(at, err)
	}
	days, floor, marks = own, ownFloor, ownMarks
	if !reply.GetSameDays() {
		if days, err = readDays(reply); err != nil {
			return nil, "", nil, err
		}
	}
	if !reply.GetSameBounds() {
		if floor, marks, err = readBounds(reply); err != nil {
			return nil, "", nil, err
		}
	}
	return days, floor, marks, nil
}

func readDays(reply *wire.DaysReply) (map[string]runlog.Sum, error) {
	if n := len(reply.GetDays()); n > maxDays {
		return nil, badAnswer("%d days", n)
	}
	days := make(map[string]runlog.Sum, len(reply.GetDays()))
	for day, sum := range reply.GetDays() {
		if !isDay(day) {
			return nil, badAnswer("a day %.20q", day)
		}
		days[day] = toSum(sum)
	}
	return days, nil
}

func readBounds(reply *wire.DaysReply) (floor string, marks map[string]crony.RunID, err error) {
	if floor = reply.GetFloor(); floor != "" && !isDay(floor) {
		return "", nil, badAnswer("a floor of %.20q", floor)
	}
	marks = make(map[string]crony.RunID, len(reply.GetMarks()))
	for job, text := range reply.GetMarks() {
		if marks[job], err = crony.ParseRunID(text); err != nil {
			return "", nil, badAnswer("a mark of %.40q", text)
		}
	}
	return floor, marks, nil
}

func isDay(text string) bool {
	t, err := time.Parse(time.DateOnly, text)
	return err == nil && t.Format(time.DateOnly) == text
}

// Minutes returns what the server at an address holds of each minute of a day.
func (c *Client) Minutes(ctx context.Context, at, day string) ([]runlog.Sum, error) {
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	peer, err := c.at(laneBulk, at)
	if err != nil {
		return nil, err
	}
	reply, err := peer.Minutes(ctx, &wire.MinutesRequest{Day: day})
	if err != nil {
		return nil, said(at, err)
	}
	if n := len(reply.GetMinutes()); n != 24*60 {
		return nil, badAnswer("a day of %d minutes", n)
	}
	minutes := make([]runlog.Sum, len(reply.GetMinutes()))
	for i, sum := range reply.GetMinutes() {
		minutes[i] = toSum(sum)
	}
	return minutes, nil
}

// Items calls each for every item that the server at an address holds of a minute. An error of each ends it, and is returned.
func (c *Client) Items(ctx context.Context, at, day string, minute int, each func(key string, sum runlog.Sum) error) error {
	ctx, heard, cancel := listening(ctx)
	defer cancel()
	peer, err := c.at(laneBulk, at)
	if err != nil {
		return err
	}
	stream, err := peer.Items(ctx, &wire.ItemsRequest{Day: day, Minute: int32(minute)})
	if err != nil {
		return said(at, err)
	}
	for n := 0; ; {
		reply, err := stream.Recv()
		if err != nil {
			return lost(ctx, at, unlessEOF(err))
		}
		heard()
		if n += len(reply.GetItems()); n > maxItems {
			return badAnswer("more than %d items in a minute", maxItems)
		}
		for _, item := range reply.GetItems() {
			if err := each(string(item.GetKey()), toSum(item.GetSum())); err != nil {
				return err
			}
		}
	}
}

// Records yields batches of all that the server at an address holds of items of a day. The last pair holds the error if there
// was one.
func (c *Client) Records(ctx context.Context, at, day string, keys []string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for part := range requests(keys) {
			for batch, err := range c.records(ctx, at, day, part) {
				if !yield(batch, err) || err != nil {
					return
				}
			}
		}
	}
}

// requests cuts keys into as many as one request takes.
func requests(keys []string) iter.Seq[[][]byte] {
	return func(yield func([][]byte) bool) {
		var part [][]byte
		size := 0
		for _, key := range keys {
			if len(part) == maxKeys || len(part) > 0 && size+len(key) > keysBytes {
				if !yield(part) {
					return
				}
				part, size = nil, 0
			}
			part, size = append(part, []byte(key)), size+len(key)
		}
		if len(part) > 0 {
			yield(part)
		}
	}
}

func (c *Client) records(ctx context.Context, at, day string, keys [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		ctx, heard, cancel := listening(ctx)
		defer cancel()
		peer, err := c.at(laneBulk, at)
		if err != nil {
			yield(nil, err)
			return
		}
		stream, err := peer.Records(ctx, &wire.RecordsRequest{Day: day, Keys: keys})
		if err != nil {
			yield(nil, said(at, err))
			return
		}
		var pieces joiner
		for total := 0; ; {
			reply, err := stream.Recv()
			heard()
			switch {
			case err == io.EOF && pieces.open: //nolint:errorlint // gRPC returns it as it is
				err = badAnswer("it ends within a batch")
			case err == io.EOF: //nolint:errorlint // as above
				return
			case err != nil:
				err = lost(ctx, at, err)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			batch, whole, err := pieces.add(reply.GetPiece())
			if total += len(reply.GetPiece().GetData()); err == nil && total > maxFetch {
				err = badAnswer("more than %d bytes", maxFetch)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if whole && !yield(batch, nil) {
				return
			}
			heard() // what was done with it does not count
		}
	}
}

// Day calls take with the size of a day's file of the server at an address, and with what reads it. The reader's error says
// that the file did not come whole.
func (c *Client) Day(ctx context.Context, at, day string, take func(size int64, file io.Reader) error) error {
	ctx, heard, cancel := listening(ctx)
	defer cancel()
	peer, err := c.at(laneBulk, at)
	if err != nil {
		return err
	}
	stream, err := peer.Day(ctx, &wire.DayRequest{Day: day})
	if err != nil {
		return said(at, err)
	}
	first, err := stream.Recv()
	if err == io.EOF { //nolint:errorlint // gRPC returns it as it is
		return crony.Errorf(crony.NotFound, "the server at %s has nothing of %s any more", at, day)
	}
	if err != nil {
		return lost(ctx, at, err)
	}
	if size := first.GetSize(); size <= 0 || size > maxDay {
		return badAnswer("a file of %d bytes", size)
	}
	next := func() ([]byte, error) {
		heard()
		reply, err := stream.Recv()
		if err != nil && err != io.EOF { //nolint:errorlint // as above
			err = lost(ctx, at, err)
		}
		heard()
		return reply.GetData(), err
	}
	return take(first.GetSize(), &dayReader{next: next, left: first.GetSize(), rest: first.GetData()})
}

// dayReader reads a file of a known size out of messages.
type dayReader struct {
	next func() ([]byte, error)
	rest []byte
	left int64
}

// Read implements [io.Reader].
func (r *dayReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		var err error
		if r.rest, err = r.next(); err == io.EOF { //nolint:errorlint // gRPC returns it as it is
			return 0, io.ErrUnexpectedEOF
		} else if err != nil {
			return 0, err
		}
	}
	if int64(len(r.rest)) > r.left {
		return 0, badAnswer("more of the file than its size")
	}
	n := copy(p, r.rest)
	r.rest, r.left = r.rest[n:], r.left-int64(n)
	return n, nil
}

// errSilent ends a call whose answer does not go on.
func errSilent(at string) error {
	return crony.Errorf(crony.Unavailable, "the server at %s: nothing came for %s", at, compareTime)
}

// listening bounds how long a call waits for the next message: heard begins the time anew.
func listening(ctx context.Context) (_ context.Context, heard func(), cancel context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	timer := time.AfterFunc(compareTime, func() { end(errTime) })
	return ctx, func() { timer.Reset(compareTime) }, func() {
		timer.Stop()
		end(nil)
	}
}

var errTime = fmt.Errorf("no message within %s", compareTime)

// lost says why a stream ended.
func lost(ctx context.Context, at string, err error) error {
	if err == nil {
		return nil
	}
	if context.Cause(ctx) == errTime { //nolint:errorlint // it is set here, as it is
		return errSilent(at)
	}
	return said(at, err)
}
