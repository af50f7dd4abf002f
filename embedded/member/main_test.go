package member

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"crony/internal/pki"
)

// childDir names the directory of a member for the test binary to open, write to without end and be killed.
const childDir = "CRONY_MEMBER_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println(write(dir))
		os.Exit(1)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // clusters mostly wait, for etcd's clocks and for the disk
		panic(err)
	}
	os.Exit(m.Run())
}

// write puts the keys 0, 1, 2, ... and prints each when the store says that it has it.
func write(dir string) error {
	ctx := context.Background()
	m, err := Open(ctx, options(dir))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := m.Client().Put(ctx, fmt.Sprint(i), "x"); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func options(dir string) Options {
	return Options{
		Dir:    dir,
		Server: pki.Identity{Cluster: "c1", Role: pki.Server, ID: "s1"},
		Create: true,
		Log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func open(t *testing.T, o Options) *Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, m) })
	return m
}

func shut(t *testing.T, m *Member) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func put(t *testing.T, m *Member, key, value string) {
	t.Helper()
	if _, err := m.Client().Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, m *Member, key string) string {
	t.Helper()
	r, err := m.Client().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}
