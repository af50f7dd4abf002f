package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/runlog"
	"crony/internal/pki"
	"crony/internal/wire"
)

// TestPieces cuts batches of all sizes and joins them again.
func TestPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var batches [][]byte
	for _, size := range []int{1, 0, maxData - 2, 1, maxData, 3*maxData + 1, 7, 7, maxData - 1, 2} {
		batch := make([]byte, size)
		for i := range batch {
			batch[i] = byte(random.Uint32())
		}
		batches = append(batches, batch)
	}
	var joined [][]byte
	var j joiner
	for pieces := range messages(40, batches) {
		size := 0
		for _, p := range pieces {
			size += len(p.GetData())
			batch, whole, err := j.add(p)
			if err != nil {
				t.Fatal(err)
			}
			if whole {
				if want := uint64(40 + len(joined)); p.GetNumber() != want {
					t.Errorf("batch %d has the number %d", want, p.GetNumber())
				}
				joined = append(joined, batch)
			}
		}
		if size > maxData {
			t.Errorf("a message of %d bytes", size)
		}
	}
	if !slices.EqualFunc(batches, joined, bytes.Equal) {
		t.Errorf("%d batches were sent, %d have come, or they differ", len(batches), len(joined))
	}
}

// TestWrongPieces joins what can't be pieces of batches.
func TestWrongPieces(t *testing.T) {
	for name, pieces := range map[string][]*wire.Piece{
		"of another batch":  {{Number: 1, Data: []byte("a"), More: true}, {Number: 2, Data: []byte("b")}},
		"empty, for ever":   {{Number: 1, More: true}},
		"none":              {nil, {Number: 1, More: true}},
		"more than a batch": slices.Repeat([]*wire.Piece{{Number: 1, Data: make([]byte, 1<<20), More: true}}, maxBatch>>20+1),
	} {
		var j joiner
		var err error
		for _, p := range pieces {
			if _, _, e := j.add(p); e != nil {
				err = e
			}
		}
		if crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// emptyLog holds nothing, and takes what it is told to.
type emptyLog struct {
	receive func(batch []byte) error
	behind  func(server string)
	days    map[string]runlog.Sum
}

func (l emptyLog) Receive(_ context.Context, batch []byte) error { return l.receive(batch) }
func (l emptyLog) Behind(server string)                          { l.behind(server) }
func (emptyLog) Floor() string                                   { return "2026-01-01" }
func (emptyLog) Marks() map[string]crony.RunID                   { return nil }

func (l emptyLog) Days(context.Context) (map[string]runlog.Sum, error) { return l.days, nil }

func (emptyLog) Minutes(context.Context, string) ([]runlog.Sum, error) {
	return nil, crony.Errorf(crony.Invalid, "no day")
}

func (emptyLog) Items(context.Context, string, int) (map[string]runlog.Sum, error) {
	many := map[string]runlog.Sum{}
	for i := range 3*itemsSent + 1 {
		many[fmt.Sprintf("item %d", i)] = runlog.Sum{Records: 1, Hash: uint64(i)}
	}
	return many, nil
}

func (emptyLog) Records(context.Context, string, []string) iter.Seq2[*runlog.Batch, error] {
	return func(yield func(*runlog.Batch, error) bool) { yield(nil, errors.New("input/output error")) }
}

func (emptyLog) CopyDay(_ context.Context, day string, put func(int64, func(io.Writer) error) error) error {
	if day == "2026-11-20" {
		return crony.Errorf(crony.NotFound, "there is nothing of it")
	}
	return put(5, func(w io.Writer) error {
		_, err := io.WriteString(w, "whole")
		return err
	})
}

// serve answers the calls of a client that it returns, with where to call.
func serve(t *testing.T, answering wire.PeersServer) (*Client, string) {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Identity{Role: pki.Server, ID: "s1"}, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	trust := pki.NewTrust(ca.Root())
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(pki.ServerTLS(trust, leaf.Certificate, pki.Server))), grpc.MaxRecvMsgSize(1<<20))
	wire.RegisterPeersServer(server, answering)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	t.Cleanup(server.Stop)
	client := NewClient(pki.ClientTLS(trust, leaf.Certificate))
	t.Cleanup(func() { client.Close() })
	return client, l.Addr().String()
}

func serviceOf(t *testing.T, log RunLog) *Service {
	t.Helper()
	s, err := New(Options{Self: "s1", Member: &store{}, Status: func() crony.ServerStatus { return crony.ServerStatus{} }, RunLog: log,
		Caller: func(context.Context) (string, error) { return "s2", nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestReplicate sends batches of which some are refused: each is answered for, under its number.
func TestReplicate(t *testing.T) {
	var mu sync.Mutex
	stored, behind := map[string]bool{}, ""
	log := emptyLog{
		receive: func(batch []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if len(batch)%7 == 3 {
				return crony.Errorf(crony.Unavailable, "no room for %d bytes", len(batch))
			}
			stored[string(batch)] = true
			return nil
		},
		behind: func(server string) {
			mu.Lock()
			defer mu.Unlock()
			behind = server
		},
	}
	client, at := serve(t, serviceOf(t, log))
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("all are answered for")
	const all = 400
	answers := map[uint64]error{}
	number := uint64(1)
	err := client.Replicate(ctx, at, func(ctx context.Context) (uint64, [][]byte, bool, error) {
		if number > all {
			<-ctx.Done()
			return 0, nil, false, context.Cause(ctx)
		}
		first := number
		var batches [][]byte
		for range 1 + number%9 {
			batches = append(batches, bytes.Repeat([]byte{byte(number)}, int(number*number%300_000)))
			number++
		}
		return first, batches, first == 1, nil
	}, func(number uint64, refusal error) {
		answers[number] = refusal
		if len(answers) >= all {
			cancel(enough)
		}
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	for n := uint64(1); n <= all; n++ {
		refusal, answered := answers[n]
		if refused := n*n%300_000%7 == 3; !answered || refused != (refusal != nil) || refused && !strings.Contains(refusal.Error(), "no room") {
			t.Errorf("batch %d: answered for %t, %v", n, answered, refusal)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if behind != "s2" {
		t.Errorf("%q is behind", behind)
	}
}

// TestAnswers asks a log for what it has and has not.
func TestAnswers(t *testing.T) {
	days := map[string]runlog.Sum{"2026-11-21": {Records: 3, Hash: 1 << 63}}
	client, at := serve(t, serviceOf(t, emptyLog{days: days}))
	got, floor, _, err := client.Days(t.Context(), at, nil, "", nil)
	if err != nil || floor != "2026-01-01" || len(got) != 1 || got["2026-11-21"] != days["2026-11-21"] {
		t.Errorf("%v %s %v", got, floor, err)
	}
	if got, floor, _, err = client.Days(t.Context(), at, days, floor, nil); err != nil || floor != "2026-01-01" || len(got) != 1 {
		t.Errorf("what is the same: %v %s %v", got, floor, err)
	}
	if _, err := client.Minutes(t.Context(), at, "x"); err == nil || !strings.Contains(err.Error(), "no day") {
		t.Errorf("of no day: %v", err)
	}
	items := map[string]runlog.Sum{}
	if err := client.Items(t.Context(), at, "2026-11-21", 1, func(key string, sum runlog.Sum) error {
		items[key] = sum
		return nil
	}); err != nil || len(items) != 3*itemsSent+1 {
		t.Errorf("%d items, %v", len(items), err)
	}
	for _, err := range client.Records(t.Context(), at, "2026-11-21", []string{"a"}) {
		if err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("of what can't be read: %v", err)
		}
	}
	take := func(size int64, file io.Reader) error {
		if data, err := io.ReadAll(file); err != nil || string(data) != "whole" || size != 5 {
			t.Errorf("%q of %d bytes, %v", data, size, err)
		}
		return nil
	}
	if err := client.Day(t.Context(), at, "2026-11-21", take); err != nil {
		t.Error(err)
	}
	if err := client.Day(t.Context(), at, "2026-11-20", take); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("a day that is not there: %v", err)
	}
}

// liar answers what can't be.
type liar struct {
	wire.UnimplementedPeersServer
	days  *wire.DaysReply
	piece *wire.Piece // over and over
	file  []*wire.DayReply
}

func (l liar) Days(context.Context, *wire.DaysRequest) (*wire.DaysReply, error) { return l.days, nil }

func (liar) Minutes(context.Context, *wire.MinutesRequest) (*wire.MinutesReply, error) {
	return &wire.MinutesReply{Minutes: make([]*wire.Sum, 1441)}, nil
}

func (liar) Items(_ *wire.ItemsRequest, stream grpc.ServerStreamingServer[wire.ItemsReply]) error {
	reply := &wire.ItemsReply{Items: slices.Repeat([]*wire.ItemSum{{}}, 64<<10)}
	for stream.Send(reply) == nil { // for ever
	}
	return nil
}

func (l liar) Records(_ *wire.RecordsRequest, stream grpc.ServerStreamingServer[wire.RecordsReply]) error {
	if !l.piece.GetMore() {
		return stream.Send(&wire.RecordsReply{Piece: &wire.Piece{Number: 1, Data: []byte("half"), More: true}})
	}
	for stream.Send(&wire.RecordsReply{Piece: l.piece}) == nil { // for ever
	}
	return nil
}

func (l liar) Day(_ *wire.DayRequest, stream grpc.ServerStreamingServer[wire.DayReply]) error {
	for _, reply := range l.file {
		if err := stream.Send(reply); err != nil {
			return err
		}
	}
	return nil
}

// TestLies has a server answer what can't be right, and never come to an end: each is an error.
func TestLies(t *testing.T) {
	for name, days := range map[string]*wire.DaysReply{
		"a day":   {Days: map[string]*wire.Sum{"2026-02-30": {}}},
		"a path":  {Days: map[string]*wire.Sum{"../x": {}}},
		"a floor": {Floor: "tomorrow"},
		"a mark":  {Marks: map[string]string{"job": "x"}},
	} {
		client, at := serve(t, liar{days: days})
		if _, _, _, err := client.Days(t.Context(), at, nil, "", nil); err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	client, at := serve(t, liar{piece: &wire.Piece{Number: 1, Data: make([]byte, 100<<10), More: true}})
	if _, err := client.Minutes(t.Context(), at, "2026-11-21"); err == nil {
		t.Error("a day of 1441 minutes")
	}
	if err := client.Items(t.Context(), at, "2026-11-21", 1, func(string, runlog.Sum) error { return nil }); err == nil {
		t.Error("a minute without an end")
	}
	for _, err := range client.Records(t.Context(), at, "2026-11-21", []string{"a"}) {
		if crony.CodeOf(err) != crony.Invalid {
			t.Errorf("a batch without an end: %v", err)
		}
	}
	client, at = serve(t, liar{})
	for _, err := range client.Records(t.Context(), at, "2026-11-21", []string{"a"}) {
		if err == nil {
			t.Error("half a batch")
		}
	}
	for name, file := range map[string][]*wire.DayReply{
		"no size":   {{Data: []byte("x")}},
		"too short": {{Size: 5}, {Data: []byte("abcd")}},
		"too long":  {{Size: 5}, {Data: []byte("abc")}, {Data: []byte("def")}},
		"huge":      {{Size: maxDay + 1}},
	} {
		client, at := serve(t, liar{file: file})
		err := client.Day(t.Context(), at, "2026-11-21", func(_ int64, file io.Reader) error {
			_, err := io.Copy(io.Discard, file)
			return err
		})
		if err == nil {
			t.Errorf("a file that is %s", name)
		}
	}
}

// TestKeysAreCut asks for more items than a request takes.
func TestKeysAreCut(t *testing.T) {
	var keys []string
	for i := range 3*maxKeys + 5 {
		keys = append(keys, strings.Repeat("k", i%200)+fmt.Sprint(i))
	}
	var asked []string
	for part := range requests(keys) {
		size := 0
		for _, key := range part {
			size += len(key)
			asked = append(asked, string(key))
		}
		if len(part) > maxKeys || size > keysBytes {
			t.Errorf("a request of %d keys and %d bytes", len(part), size)
		}
	}
	if !slices.Equal(keys, asked) {
		t.Errorf("asked for %d keys of %d", len(asked), len(keys))
	}
	s := serviceOf(t, emptyLog{})
	err := s.Records(&wire.RecordsRequest{Keys: make([][]byte, maxKeys+1)}, nil)
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many keys: %v", err)
	}
}
