package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/runlog"
	"crony/internal/wire"
)

// RunLog is the server's run log, as other servers see it. Its methods are safe for concurrent use.
type RunLog interface {
	// Receive stores a batch of another server's, and returns once it is on disk. Invalid if it is damaged.
	Receive(ctx context.Context, batch []byte) error
	// Behind is told that another server could not keep in mind what this one lacks. It does not wait.
	Behind(server string)

	// The rest is the log's own; see [runlog.Log].

	Days(ctx context.Context) (map[string]runlog.Sum, error)
	Minutes(ctx context.Context, day string) ([]runlog.Sum, error)
	Items(ctx context.Context, day string, minute int) (map[string]runlog.Sum, error)
	Records(ctx context.Context, day string, keys []string) iter.Seq2[*runlog.Batch, error]
	CopyDay(ctx context.Context, day string, put func(size int64, write func(io.Writer) error) error) error
	Floor() string
	Marks() map[string]crony.RunID
}

// Bounds on what one caller can make a server hold.
const (
	maxStoring = 16 << 20 // bytes of batches on their way to the disk
	maxKeys    = 4096     // in one request
	itemsSent  = 2048     // items in one message
)

// Replicate implements wire.PeersServer.
func (s *Service) Replicate(stream grpc.BidiStreamingServer[wire.ReplicateRequest, wire.ReplicateReply]) error {
	caller, err := s.opts.Caller(stream.Context())
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	r := &receiver{log: s.opts.RunLog, room: semaphore.NewWeighted(maxStoring), ready: make(chan struct{}, 1),
		next: &wire.ReplicateReply{}}
	var answering sync.WaitGroup
	answering.Go(func() { end(r.answer(ctx, stream)) })
	err = r.receive(ctx, stream, caller)
	end(err)
	r.storing.Wait()
	answering.Wait()
	return refusal(err)
}

// receiver takes in one stream of batches. They are stored side by side, so that the log puts them on disk together.
type receiver struct {
	log     RunLog
	room    *semaphore.Weighted
	storing sync.WaitGroup
	ready   chan struct{} // there is something to answer

	mu   sync.Mutex
	next *wire.ReplicateReply
}

type incoming interface {
	Recv() (*wire.ReplicateRequest, error)
}

type outgoing interface {
	Send(reply *wire.ReplicateReply) error
}

// receive reads until the stream ends; that the other side ends it is no error.
func (r *receiver) receive(ctx context.Context, stream incoming, caller string) error {
	var pieces joiner
	for {
		msg, err := stream.Recv()
		if err != nil {
			return unlessEOF(err)
		}
		if msg.GetCompare() {
			r.log.Behind(caller)
		}
		for _, p := range msg.GetPieces() {
			batch, whole, err := pieces.add(p)
			if err != nil {
				return err
			}
			if !whole {
				continue
			}
			if err := r.store(ctx, p.GetNumber(), batch); err != nil {
				return err
			}
		}
	}
}

// store has a batch stored, as soon as there is room for it.
func (r *receiver) store(ctx context.Context, number uint64, batch []byte) error {
	size := int64(len(batch)) + 1<<10
	if err := r.room.Acquire(ctx, min(size, maxStoring)); err != nil {
		return context.Cause(ctx)
	}
	r.storing.Go(func() {
		err := r.log.Receive(ctx, batch)
		r.room.Release(min(size, maxStoring))
		r.done(number, err)
	})
	return nil
}

func (r *receiver) done(number uint64, err error) {
	r.mu.Lock()
	if err == nil {
		r.next.Stored = append(r.next.Stored, number)
	} else {
		r.next.Refused = append(r.next.Refused, &wire.Refusal{Number: number, Reason: err.Error()})
	}
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// answer says what became of batches, until ctx is done. While it says so of some, the next gather.
func (r *receiver) answer(ctx context.Context, stream outgoing) error {
	for {
		select {
		case <-r.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.mu.Lock()
		reply := r.next
		r.next = &wire.ReplicateReply{}
		r.mu.Unlock()
		if err := stream.Send(reply); err != nil {
			return err
		}
	}
}

// Days implements wire.PeersServer.
func (s *Service) Days(ctx context.Context, req *wire.DaysRequest) (*wire.DaysReply, error) {
	floor, marks := s.opts.RunLog.Floor(), s.opts.RunLog.Marks()
	days, err := s.opts.RunLog.Days(ctx)
	if err != nil {
		return nil, refusal(err)
	}
	reply := &wire.DaysReply{SameDays: bytes.Equal(req.GetDigest(), daysDigest(days)),
		SameBounds: bytes.Equal(req.GetBounds(), boundsDigest(floor, marks))}
	if !reply.GetSameDays() {
		reply.Days = make(map[string]*wire.Sum, len(days))
		for day, sum := range days {
			reply.Days[day] = fromSum(sum)
		}
	}
	if !reply.GetSameBounds() {
		reply.Floor, reply.Marks = floor, make(map[string]string, len(marks))
		for job, id := range marks {
			reply.Marks[job] = string(id)
		}
	}
	return reply, nil
}

// daysDigest is what two logs have in common only if all of their days have the same sums.
func daysDigest(days map[string]runlog.Sum) []byte {
	h := sha256.New()
	for _, day := range slices.Sorted(maps.Keys(days)) {
		fmt.Fprintf(h, "%s %d %x\n", day, days[day].Records, days[day].Hash)
	}
	return h.Sum(nil)
}

// boundsDigest is what two logs have in common only if they have dropped the same.
func boundsDigest(floor string, marks map[string]crony.RunID) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", floor)
	for _, job := range slices.Sorted(maps.Keys(marks)) {
		fmt.Fprintf(h, "%q %s\n", job, marks[job])
	}
	return h.Sum(nil)
}

// Minutes implements wire.PeersServer.
func (s *Service) Minutes(ctx context.Context, req *wire.MinutesRequest) (*wire.MinutesReply, error) {
	minutes, err := s.opts.RunLog.Minutes(ctx, req.GetDay())
	if err != nil {
		return nil, refusal(err)
	}
	reply := &wire.MinutesReply{Minutes: make([]*wire.Sum, len(minutes))}
	for i, sum := range minutes {
		reply.Minutes[i] = fromSum(sum)
	}
	return reply, nil
}

// Items implements wire.PeersServer.
func (s *Service) Items(req *wire.ItemsRequest, stream grpc.ServerStreamingServer[wire.ItemsReply]) error {
	items, err := s.opts.RunLog.Items(stream.Context(), req.GetDay(), int(req.GetMinute()))
	if err != nil {
		return refusal(err)
	}
	reply := &wire.ItemsReply{}
	for key, sum := range items {
		reply.Items = append(reply.Items, &wire.ItemSum{Key: []byte(key), Sum: fromSum(sum)})
		if len(reply.Items) < itemsSent {
			continue
		}
		if err := stream.Send(reply); err != nil {
			return err
		}
		reply = &wire.ItemsReply{}
	}
	return stream.Send(reply)
}

// Records implements wire.PeersServer.
func (s *Service) Records(req *wire.RecordsRequest, stream grpc.ServerStreamingServer[wire.RecordsReply]) error {
	if n := len(req.GetKeys()); n > maxKeys {
		return status.Errorf(codes.InvalidArgument, "%d keys in a request; at most %d", n, maxKeys)
	}
	keys := make([]string, len(req.GetKeys()))
	for i, key := range req.GetKeys() {
		keys[i] = string(key)
	}
	number := uint64(0)
	for batch, err := range s.opts.RunLog.Records(stream.Context(), req.GetDay(), keys) {
		if err != nil {
			return refusal(err)
		}
		number++
		for pieces := range messages(number, [][]byte{batch.Bytes()}) {
			if err := stream.Send(&wire.RecordsReply{Piece: pieces[0]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Day implements wire.PeersServer.
func (s *Service) Day(req *wire.DayRequest, stream grpc.ServerStreamingServer[wire.DayReply]) error {
	err := s.opts.RunLog.CopyDay(stream.Context(), req.GetDay(), func(size int64, write func(io.Writer) error) error {
		if err := stream.Send(&wire.DayReply{Size: size}); err != nil {
			return err
		}
		return write(dayWriter{stream})
	})
	return refusal(err)
}

// dayWriter sends what is written to it.
type dayWriter struct {
	stream grpc.ServerStreamingServer[wire.DayReply]
}

// Write implements [io.Writer].
func (w dayWriter) Write(p []byte) (int, error) {
	sent := 0
	for part := range slices.Chunk(p, maxData) {
		if err := w.stream.Send(&wire.DayReply{Data: part}); err != nil {
			return sent, err
		}
		sent += len(part)
	}
	return sent, nil
}

func fromSum(sum runlog.Sum) *wire.Sum { return &wire.Sum{Records: sum.Records, Hash: sum.Hash} }

func toSum(sum *wire.Sum) runlog.Sum {
	return runlog.Sum{Records: sum.GetRecords(), Hash: sum.GetHash()}
}

func badAnswer(format string, args ...any) error {
	return crony.Errorf(crony.Internal, "the answer can't be right: "+format, args...)
}

func unlessEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // gRPC returns it as it is
		return nil
	}
	return err
}
