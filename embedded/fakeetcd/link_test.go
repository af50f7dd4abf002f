package fakeetcd_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"crony/embedded/fakeetcd"
)

// TestLink: over a link that is cut nothing comes through, what was under way is done or not, watches fall behind and catch up, and a
// lease ends by its time; a slow one takes its time both ways.
func TestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		e, link := fakeetcd.New(), &fakeetcd.Link{}
		far, near := e.ClientOver(ctx, link), e.Client(ctx)
		session, err := concurrency.NewSession(far, concurrency.WithTTL(10))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.Put(ctx, "held", "", clientv3.WithLease(session.Lease())); err != nil {
			t.Fatal(err)
		}
		watch := far.Watch(ctx, "", clientv3.WithPrefix())
		synctest.Wait()

		link.Cut(true)
		waiting, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := far.Put(waiting, "a", "1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("written over a cut link: %v", err)
		}
		if _, err := near.Put(ctx, "b", "1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		select {
		case resp := <-watch:
			t.Errorf("a watch was told over a cut link: %v", resp.Events)
		case <-session.Done():
			t.Error("the lease ended before its time")
		default:
		}
		time.Sleep(6 * time.Second)
		select {
		case <-session.Done():
		default:
			t.Error("the lease did not end")
		}
		if resp, err := near.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || resp.Count != 1 {
			t.Errorf("%+v, %v; want b alone", resp, err)
		}

		link.Cut(false)
		for _, key := range []string{"b", "held"} {
			if resp := <-watch; len(resp.Events) != 1 || string(resp.Events[0].Kv.Key) != key {
				t.Errorf("the watch was told %v, want %s", resp.Events, key)
			}
		}

		link.Delay = func() time.Duration { return 30 * time.Millisecond }
		began := time.Now()
		if _, err := far.Put(ctx, "a", "2"); err != nil || time.Since(began) != 60*time.Millisecond {
			t.Errorf("a put over a slow link took %s, %v", time.Since(began), err)
		}
		waiting, cancel = context.WithTimeout(ctx, 40*time.Millisecond)
		defer cancel()
		if _, err := far.Put(waiting, "a", "3"); err == nil {
			t.Error("an answer that came too late was heard")
		}
		if resp, err := near.Get(ctx, "a"); err != nil || string(resp.Kvs[0].Value) != "3" {
			t.Errorf("%v, %v: what was done though nobody heard of it is not there", resp, err)
		}
	})
}
