package hub

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/pki"
	"crony/internal/wire"
)

const (
	benchDir   = "CRONY_BENCH_DIR"    // set: this process is the server of BenchmarkIdleAgents, and has its data there
	benchBare  = "CRONY_BENCH_BARE"   // set with it: the server is the floor, a bare gRPC one
	benchCount = "CRONY_BENCH_AGENTS" // how many agents
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(benchDir); dir != "" {
		if err := serveBench(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveBench is a server's hub on a real store, alone in its process. It says its address, then for each line of its standard
// input how many bytes it needs, and ends with it.
func serveBench(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ca, err := pki.OpenCA(dir)
	if err != nil {
		return err
	}
	who := pki.Identity{Cluster: ca.Root().Cluster(), Role: pki.Server, ID: "s1"}
	leaf, err := ca.Issue(who, nil, time.Now())
	if err != nil {
		return err
	}
	config := pki.ServerTLS(ca.Root(), leaf.Certificate, pki.Agent, pki.Server)
	if os.Getenv(benchBare) != "" {
		server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.WriteBufferSize(4<<10), grpc.ReadBufferSize(0),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 7 * time.Second, Timeout: 4 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
		wire.RegisterLinkServer(server, bare{})
		return answerBench(func(l net.Listener) error { return server.Serve(l) }, server.Stop)
	}
	m, err := member.Open(ctx, member.Options{Dir: filepath.Join(dir, "etcd"), Create: true, Log: log, Server: who})
	if err != nil {
		return err
	}
	defer m.Close()
	store, err := state.Open(ctx, state.Options{Client: m.Client(), Log: log})
	if err != nil {
		return err
	}
	defer store.Close()
	runs, err := runlog.Open(runlog.Options{Dir: filepath.Join(dir, "runs"), Log: log})
	if err != nil {
		return err
	}
	defer runs.Close()
	h, err := New(Options{Server: who.ID, TLS: config,
		State: store, Runs: onlyLog{runs}, Registerer: prometheus.NewRegistry(), Log: log,
		Trust: func() ([]byte, string) { return ca.Root().PEM(), ca.Root().Fingerprint() },
		Ready: func() error { return nil }})
	if err != nil {
		return err
	}
	return answerBench(func(l net.Listener) error { return h.Serve(ctx, l) }, cancel)
}

// answerBench serves, says where, and answers its standard input until that ends.
func answerBench(serve func(net.Listener) error, stop func()) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		defer stop()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			fmt.Println(m.HeapAlloc + m.StackInuse)
		}
	}()
	return serve(l)
}

// bare is the least that a server can do: it welcomes, and reads.
type bare struct{ wire.UnimplementedLinkServer }

// Connect implements wire.LinkServer.
func (bare) Connect(link wire.Link_ConnectServer) error {
	if _, err := link.Recv(); err != nil {
		return err
	}
	for _, msg := range []*wire.FromServer{
		{Kind: &wire.FromServer_Welcome{Welcome: &wire.Welcome{}}}, {Kind: &wire.FromServer_Synced{Synced: &wire.Synced{}}},
	} {
		if err := link.Send(msg); err != nil {
			return err
		}
	}
	_, err := link.Recv()
	return err
}

// BenchmarkIdleAgents says what agents that do nothing cost a server: the share of a core, and for each the bytes that it
// needs (B/agent) and those by which its process grows (RSS/agent), which is more by the collector's leeway. The same for the
// floor, a bare gRPC server that knows nothing of an agent but its stream, and the ratios to it. The server is alone in a process, with a real store and no jobs; the agents, as many as CRONY_BENCH_AGENTS says, connect from this one by
// TLS and gRPC as real ones do, and do no more than answer pings.
func BenchmarkIdleAgents(b *testing.B) {
	agents := 2000
	if text := os.Getenv(benchCount); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		agents = n
	}
	for b.Loop() {
		floor, cost := idleCost(b, agents, true), idleCost(b, agents, false)
		b.ReportMetric(0, "ns/op") // that of the whole says nothing
		b.ReportMetric(cost.share, "cores")
		b.ReportMetric(floor.share, "floor-cores")
		b.ReportMetric(cost.need, "B/agent")
		b.ReportMetric(floor.need, "floor-B/agent")
		b.ReportMetric(cost.rss, "RSS/agent")
		b.ReportMetric(floor.rss, "floor-RSS/agent")
		b.ReportMetric(cost.rss/floor.rss, "RSS-ratio")
		b.ReportMetric(cost.connect, "cpu-µs/connect")
	}
}

// idle is what agents that do nothing cost.
type idle struct {
	share     float64 // of a core, for all
	need, rss float64 // bytes for each
	connect   float64 // CPU time in µs, once for each
}

func idleCost(b *testing.B, agents int, bare bool) idle {
	b.Helper()
	s := startBench(b, bare)
	defer s.stop()
	s.dial(200) // what the first ones cost is the server's own: its buffers, pools and pages
	need, rss, cpu := s.need(), s.rss(), s.cpu()
	s.dial(agents)
	cpu = s.cpu() - cpu
	cost := idle{connect: float64(cpu.Microseconds()) / float64(agents), share: s.share(20 * time.Second)}
	cost.rss = float64(s.rss()-rss) / float64(agents)
	cost.need = float64(s.need()-need) / float64(agents)
	return cost
}

// benchServer is the server in its process, and the agents that are connected to it.
type benchServer struct {
	b       testing.TB
	ca      *pki.CA
	process *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	address string
	agents  int
	mu      sync.Mutex
	conns   []*grpc.ClientConn
}

func startBench(b testing.TB, bare bool) *benchServer {
	b.Helper()
	ca, err := pki.NewCA("bench", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := ca.Save(dir); err != nil {
		b.Fatal(err)
	}
	s := &benchServer{b: b, ca: ca, process: exec.Command(os.Args[0])}
	s.process.Env = append(os.Environ(), benchDir+"="+dir)
	if bare {
		s.process.Env = append(s.process.Env, benchBare+"=1")
	}
	s.process.Stderr = os.Stderr
	if s.stdin, err = s.process.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := s.process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		b.Fatal(err)
	}
	s.stdout = bufio.NewReader(out)
	s.address = s.line()
	return s
}

func (s *benchServer) line() string {
	s.b.Helper()
	line, err := s.stdout.ReadString('\n')
	if err != nil {
		s.b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func (s *benchServer) stop() {
	s.stdin.Close()
	if err := s.process.Wait(); err != nil {
		s.b.Error(err)
	}
	for _, c := range s.conns {
		c.Close()
	}
}

// dial connects agents, some at a time, and returns when all are welcome and have all their jobs: none.
func (s *benchServer) dial(n int) {
	s.b.Helper()
	var group errgroup.Group
	group.SetLimit(32)
	for range n {
		s.agents++
		id := fmt.Sprintf("a%d", s.agents)
		group.Go(func() error { return s.dialOne(id) })
	}
	if err := group.Wait(); err != nil {
		s.b.Fatal(err)
	}
}

func (s *benchServer) dialOne(id string) error {
	leaf, err := s.ca.Issue(pki.Identity{Role: pki.Agent, ID: id}, nil, time.Now())
	if err != nil {
		return err
	}
	pair, err := leaf.Certificate()
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(s.address,
		grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientTLS(s.ca.Root(), func() (*tls.Certificate, error) { return pair, nil }))),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	link, err := wire.NewLinkClient(conn).Connect(context.Background())
	if err != nil {
		return err
	}
	if err := link.Send(hello(`{"name":"` + id + `","hostname":"` + id + `.example.com","version":"v1.0.0","os":"linux","arch":"amd64"}`)); err != nil {
		return err
	}
	for {
		msg, err := link.Recv()
		if err != nil {
			return err
		}
		if msg.GetSynced() != nil {
			go link.Recv() // as an agent does; it ends with the connection
			return nil
		}
	}
}

// cpu returns what the server's process has used so far.
func (s *benchServer) cpu() time.Duration {
	s.b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
	if err != nil {
		s.b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second: proc_pid_stat(5)
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			s.b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// share returns how much of a core the server uses over a time.
func (s *benchServer) share(d time.Duration) float64 {
	before, began := s.cpu(), time.Now()
	time.Sleep(d)
	return (s.cpu() - before).Seconds() / time.Since(began).Seconds()
}

// need returns how much memory the server needs: what lives in its heap, and its stacks.
func (s *benchServer) need() int64 {
	s.b.Helper()
	if _, err := io.WriteString(s.stdin, "\n"); err != nil {
		s.b.Fatal(err)
	}
	n, err := strconv.ParseInt(s.line(), 10, 64)
	if err != nil {
		s.b.Fatal(err)
	}
	return n
}

// rss returns how much memory the server's process has, in bytes.
func (s *benchServer) rss() int64 {
	s.b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.process.Process.Pid))
	if err != nil {
		s.b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		s.b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
