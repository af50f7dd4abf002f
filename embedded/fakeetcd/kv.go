package fakeetcd

import (
	"cmp"
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kv implements the key-value service.
type kv struct {
	etcd *Etcd
	link *Link
}

// do runs f with the keyspace locked, and makes its writes a revision.
func do[T any](ctx context.Context, k kv, f func(*change) (T, error)) (resp T, err error) {
	if err := ctx.Err(); err != nil {
		return resp, err
	}
	if err := k.link.Cross(ctx); err != nil {
		k.link.late(func() { k.apply(func(c *change) { f(c) }) }) //nolint:errcheck // nobody hears of it
		return resp, err
	}
	k.apply(func(c *change) { resp, err = f(c) })
	if err != nil {
		return resp, err
	}
	return resp, k.link.Cross(ctx)
}

func (k kv) apply(f func(*change)) {
	k.etcd.mu.Lock()
	defer k.etcd.mu.Unlock()
	c := &change{Etcd: k.etcd}
	f(c)
	c.commit()
}

// Range implements the service.
func (k kv) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return do(ctx, k, func(c *change) (*pb.RangeResponse, error) { return c.get(r) })
}

// Put implements the service.
func (k kv) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return do(ctx, k, func(c *change) (*pb.PutResponse, error) {
		if err := c.checkPut(r); err != nil {
			return nil, err
		}
		return c.write(r), nil
	})
}

// DeleteRange implements the service.
func (k kv) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return do(ctx, k, func(c *change) (*pb.DeleteRangeResponse, error) { return c.drop(r), nil })
}

// Txn implements the service.
func (k kv) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return do(ctx, k, func(c *change) (*pb.TxnResponse, error) {
		if err := checkTxn(r); err != nil {
			return nil, err
		}
		path := c.decide(r, nil)
		if err := c.checkTaken(r, &path); err != nil {
			return nil, err
		}
		path.at = 0
		return c.run(r, &path)
	})
}

// Compact implements the service.
func (k kv) Compact(ctx context.Context, r *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return do(ctx, k, func(c *change) (*pb.CompactionResponse, error) {
		if r.GetRevision() > c.rev {
			return nil, rpctypes.ErrGRPCFutureRev
		}
		i := slices.IndexFunc(c.log, func(l revision) bool { return l.rev > r.GetRevision() })
		if i < 0 {
			i = len(c.log)
		}
		c.log = slices.Clone(c.log[i:])
		return &pb.CompactionResponse{Header: c.header()}, nil
	})
}

func (c *change) get(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	switch {
	case len(r.GetKey()) == 0:
		return nil, rpctypes.ErrGRPCEmptyKey
	case r.GetRevision() > c.rev:
		return nil, rpctypes.ErrGRPCFutureRev
	case r.GetRevision() > 0 && r.GetRevision() < c.rev:
		return nil, rpctypes.ErrGRPCCompacted // what was is not remembered
	}
	var found []*mvccpb.KeyValue
	for _, key := range c.within(r.GetKey(), r.GetRangeEnd()) {
		kv := c.values[key]
		if between(kv.GetCreateRevision(), r.GetMinCreateRevision(), r.GetMaxCreateRevision()) &&
			between(kv.GetModRevision(), r.GetMinModRevision(), r.GetMaxModRevision()) {
			found = append(found, kv)
		}
	}
	resp := &pb.RangeResponse{Header: c.header(), Count: int64(len(found))}
	if r.GetCountOnly() {
		return resp, nil
	}
	order(found, r)
	if n := int(r.GetLimit()); n > 0 && n < len(found) {
		found, resp.More = found[:n], true
	}
	if r.GetKeysOnly() {
		for i, kv := range found {
			found[i] = &mvccpb.KeyValue{Key: kv.GetKey(), CreateRevision: kv.GetCreateRevision(), ModRevision: kv.GetModRevision(),
				Version: kv.GetVersion(), Lease: kv.GetLease()}
		}
	}
	resp.Kvs = found
	return resp, nil
}

// between says whether a revision is in bounds; an upper one of 0 is none.
func between(rev, low, high int64) bool { return rev >= low && (high == 0 || rev <= high) }

func order(list []*mvccpb.KeyValue, r *pb.RangeRequest) {
	if r.GetSortOrder() == pb.RangeRequest_NONE && r.GetSortTarget() == pb.RangeRequest_KEY {
		return
	}
	slices.SortStableFunc(list, func(a, b *mvccpb.KeyValue) int {
		n := 0
		switch r.GetSortTarget() {
		case pb.RangeRequest_KEY:
			n = compareText(a.GetKey(), b.GetKey())
		case pb.RangeRequest_VALUE:
			n = compareText(a.GetValue(), b.GetValue())
		case pb.RangeRequest_VERSION:
			n = cmp.Compare(a.GetVersion(), b.GetVersion())
		case pb.RangeRequest_CREATE:
			n = cmp.Compare(a.GetCreateRevision(), b.GetCreateRevision())
		case pb.RangeRequest_MOD:
			n = cmp.Compare(a.GetModRevision(), b.GetModRevision())
		}
		if r.GetSortOrder() == pb.RangeRequest_DESCEND {
			return -n
		}
		return n
	})
}

func (c *change) checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.GetLease() != 0 && c.leases[clientv3.LeaseID(r.GetLease())] == nil:
		return rpctypes.ErrGRPCLeaseNotFound
	case (r.GetIgnoreValue() || r.GetIgnoreLease()) && c.values[string(r.GetKey())] == nil:
		return rpctypes.ErrGRPCKeyNotFound
	}
	return nil
}

func (c *change) write(r *pb.PutRequest) *pb.PutResponse {
	before := c.values[string(r.GetKey())]
	value, id := r.GetValue(), r.GetLease()
	if r.GetIgnoreValue() {
		value = before.GetValue()
	}
	if r.GetIgnoreLease() {
		id = before.GetLease()
	}
	c.put(string(r.GetKey()), value, clientv3.LeaseID(id))
	resp := &pb.PutResponse{Header: c.written()}
	if r.GetPrevKv() {
		resp.PrevKv = before
	}
	return resp
}

func (c *change) drop(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	resp := &pb.DeleteRangeResponse{}
	for _, key := range slices.Clone(c.within(r.GetKey(), r.GetRangeEnd())) {
		if r.GetPrevKv() {
			resp.PrevKvs = append(resp.PrevKvs, c.values[key])
		}
		c.remove(key)
		resp.Deleted++
	}
	resp.Header = c.written()
	return resp
}

// written is the header of an answer: with the revision that there will be.
func (c *change) written() *pb.ResponseHeader {
	h := c.header()
	if len(c.events) > 0 {
		h.Revision = c.next()
	}
	return h
}

// RangeStream implements the service: it is not supported.
func (kv) RangeStream(
	context.Context, *pb.RangeRequest, ...grpc.CallOption,
) (grpc.ServerStreamingClient[pb.RangeStreamResponse], error) {
	return nil, status.Error(codes.Unimplemented, "fakeetcd streams no ranges")
}
