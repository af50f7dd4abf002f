package testhosts_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"crony"
	"crony/internal/pki"
	"crony/internal/wire"
)

// The recorder is an agent that runs nothing: it reports runs that it makes up, as fast as it may, to whichever server answers,
// and writes down what was acknowledged. It is this test binary, started in a host with these set.
const (
	recorderDir  = "CRONY_TEST_RECORDER"      // the directory of an agent that has joined; it writes the file acked there
	recorderSeed = "CRONY_TEST_RECORDER_SEED" // of what it makes up
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(recorderDir); dir != "" {
		if err := record(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// acked is a record that a server has said to be kept, as a line of JSON.
type acked struct {
	Run    crony.RunID  `json:"run"`
	Fact   *crony.Fact  `json:"fact,omitempty"`
	Stream crony.Stream `json:"stream,omitempty"` // of a chunk
	Offset int64        `json:"offset,omitempty"`
	Length int          `json:"length,omitempty"`
	Sum    uint32       `json:"sum,omitempty"` // CRC-32C
}

// castagnoli is what chunks are summed by.
func castagnoli(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// recorder is a recorder's state. One goroutine uses it.
type recorder struct {
	dir     string
	id      string
	config  *tls.Config
	servers []string
	rand    *rand.Rand
	out     *bufio.Writer

	last    uint64         // the last report's id
	pending []*wire.Report // that were not acknowledged, in their order
	halves  [][]crony.Fact // of runs that were begun: the rest of their facts
	reports int
}

func record(dir string) error {
	seed, err := strconv.ParseUint(os.Getenv(recorderSeed), 10, 64)
	if err != nil {
		return err
	}
	r := &recorder{dir: dir, rand: rand.New(rand.NewPCG(seed, 1))}
	bundle, err := os.ReadFile(filepath.Join(dir, "pki", "ca.crt"))
	if err != nil {
		return err
	}
	roots, err := pki.ParseRoots(bundle)
	if err != nil {
		return err
	}
	leaf, err := pki.OpenLeaf(filepath.Join(dir, "pki", "agent.pem"))
	if err != nil {
		return err
	}
	r.config = pki.ClientTLS(pki.NewTrust(roots...), leaf.Certificate)
	pair, err := leaf.Certificate()
	if err != nil {
		return err
	}
	who, err := pki.IdentityOf(pair.Leaf)
	if err != nil {
		return err
	}
	r.id = who.ID
	text, err := os.ReadFile(filepath.Join(dir, "servers.json"))
	if err != nil {
		return err
	}
	var known []struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal(text, &known); err != nil {
		return err
	}
	for _, k := range known {
		r.servers = append(r.servers, k.Address)
	}
	file, err := os.OpenFile(filepath.Join(dir, "acked"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	r.out = bufio.NewWriter(file)
	for {
		address := r.servers[r.rand.IntN(len(r.servers))]
		err := r.serve(address)
		if errors.Is(err, errFinished) {
			return r.out.Flush()
		}
		fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), address, r.reports, "reports:", err)
		time.Sleep(50 * time.Millisecond)
	}
}

var errFinished = errors.New("finished")

// serve connects to a server and reports until that fails, or until there is a file that says to finish and all is acknowledged.
func (r *recorder) serve(address string) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(r.config)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	patience := time.AfterFunc(3*time.Second, func() { cancel(errors.New("it says nothing")) })
	defer patience.Stop()
	link, err := wire.NewLinkClient(conn).Connect(ctx)
	if err != nil {
		return err
	}
	var runs []string // that it still answers for
	for _, rest := range r.halves {
		runs = append(runs, string(rest[0].Run))
	}
	for _, p := range r.pending {
		for _, data := range p.GetFacts() {
			if f, err := wire.Decode[crony.Fact](data); err == nil {
				runs = append(runs, string(f.Run))
			}
		}
	}
	agent := wire.Encode(crony.Agent{Name: filepath.Base(filepath.Dir(r.dir)), Version: "test"})
	if err := link.Send(&wire.FromAgent{Kind: &wire.FromAgent_Hello{Hello: &wire.Hello{Agent: agent, Runs: runs}}}); err != nil {
		return why(ctx, err)
	}
	acks := make(chan uint64, 64)
	go func() {
		defer close(acks)
		for {
			msg, err := link.Recv()
			if err != nil {
				cancel(err)
				return
			}
			patience.Reset(3 * time.Second)
			switch kind := msg.GetKind().(type) {
			case *wire.FromServer_Ack:
				acks <- kind.Ack.GetId()
			case *wire.FromServer_Move:
				cancel(errors.New("asked to move"))
			}
		}
	}()
	for _, p := range r.pending {
		if err := send(link, p); err != nil {
			return why(ctx, err)
		}
	}
	for {
		finishing := r.finishing()
		for len(r.pending) < 8 && (!finishing || len(r.halves) > 0) {
			time.Sleep(5 * time.Millisecond) // others need the processors too
			p := r.report(finishing)
			r.pending = append(r.pending, p)
			if err := send(link, p); err != nil {
				return why(ctx, err)
			}
		}
		if finishing && len(r.pending) == 0 {
			return errFinished
		}
		id, ok := <-acks
		if !ok {
			return context.Cause(ctx)
		}
		if err := r.acknowledged(id); err != nil {
			return err
		}
	}
}

func send(link wire.Link_ConnectClient, p *wire.Report) error {
	return link.Send(&wire.FromAgent{Kind: &wire.FromAgent_Report{Report: p}})
}

// why is the reason for which a stream has ended: that sending failed says nothing.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (r *recorder) finishing() bool {
	_, err := os.Stat(filepath.Join(r.dir, "finish"))
	return err == nil
}

// acknowledged writes down what was acknowledged. Acknowledgements come in the order of the reports.
func (r *recorder) acknowledged(id uint64) error {
	if len(r.pending) == 0 || r.pending[0].GetId() != id {
		return fmt.Errorf("report %d is acknowledged out of order", id)
	}
	p := r.pending[0]
	r.pending = r.pending[1:]
	r.reports++
	enc := json.NewEncoder(r.out)
	for _, data := range p.GetFacts() {
		f, err := wire.Decode[crony.Fact](data)
		if err != nil {
			return err
		}
		if err := enc.Encode(acked{Run: f.Run, Fact: &f}); err != nil {
			return err
		}
	}
	for _, c := range p.GetChunks() {
		d := c.Domain()
		if err := enc.Encode(acked{Run: d.Run, Stream: d.Stream, Offset: d.Offset, Length: len(d.Data), Sum: castagnoli(d.Data)}); err != nil {
			return err
		}
	}
	return r.out.Flush()
}

// report makes up a report: some runs are begun and ended in it, some begun, and some that were begun before are ended.
func (r *recorder) report(finishing bool) *wire.Report {
	r.last++
	p := &wire.Report{Id: r.last}
	add := func(facts []crony.Fact) {
		for i := range facts {
			p.Facts = append(p.Facts, wire.Encode(facts[i]))
		}
	}
	for len(r.halves) > 0 && (finishing || r.rand.IntN(3) == 0) && len(p.GetFacts()) < 100 {
		add(r.halves[0])
		r.halves = r.halves[1:]
	}
	if finishing {
		return p
	}
	for range 1 + r.rand.IntN(20) {
		facts := r.life()
		cut := len(facts)
		if r.rand.IntN(4) == 0 {
			cut = 1 + r.rand.IntN(len(facts)-1)
			r.halves = append(r.halves, facts[cut:])
		}
		add(facts[:cut])
		run, offset := facts[0].Run, int64(0)
		for range r.rand.IntN(3) {
			data := make([]byte, 1+r.rand.IntN(4000))
			for i := range data {
				data[i] = "0123456789abcdef"[r.rand.IntN(16)]
			}
			p.Chunks = append(p.Chunks, wire.FromChunk(&crony.Chunk{Run: run, Attempt: 1, Stream: crony.Stdout, Offset: offset,
				At: time.Now().UTC(), Data: data}))
			offset += int64(len(data))
		}
	}
	return p
}

// life is a run's facts from its claim to its end.
func (r *recorder) life() []crony.Fact {
	now := time.Now().UTC()
	id := crony.NewRunID(now)
	code := r.rand.IntN(2)
	end := crony.Succeeded
	if code != 0 {
		end = crony.Failed
	}
	job := fmt.Sprintf("made-up-%d", r.rand.IntN(50))
	return []crony.Fact{
		{Run: id, Seq: 1, At: now, Claimed: &crony.ClaimedFact{Job: job, JobUID: "uid-" + job, Generation: 1, Group: crony.DefaultGroup,
			Agent: r.id, Trigger: crony.ByReboot, ScheduledAt: id.Time(), Epoch: 1}},
		{Run: id, Seq: 2, At: now.Add(time.Millisecond), Started: &crony.StartedFact{Attempt: 1, PID: 1 + r.rand.IntN(30000)}},
		{Run: id, Seq: 3, At: now.Add(time.Second), Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &code, MaxRSS: r.rand.Int64N(1 << 30)}},
		{Run: id, Seq: 4, At: now.Add(time.Second), Ended: &crony.EndedFact{State: end, Reason: "it exited with code " + strconv.Itoa(code)}},
	}
}
