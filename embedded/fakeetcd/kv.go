package fakeetcd

import (
	"cmp"
	"context"
	"maps"
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
func (k kv) do(ctx context.Context, f func(*change) error) error {
	if err := k.link.Cross(ctx); err != nil {
		return err
	}
	if err := k.apply(f); err != nil {
		return err
	}
	return k.link.Cross(ctx)
}

func (k kv) apply(f func(*change) error) error {
	k.etcd.mu.Lock()
	defer k.etcd.mu.Unlock()
	c := &change{Etcd: k.etcd}
	err := f(c)
	c.commit()
	return err
}

// Range implements the service.
func (k kv) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (resp *pb.RangeResponse, err error) {
	err = k.do(ctx, func(c *change) error {
		resp, err = c.get(r)
		return err
	})
	return resp, err
}

// Put implements the service.
func (k kv) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (resp *pb.PutResponse, err error) {
	err = k.do(ctx, func(c *change) error {
		if err := c.checkPut(r); err != nil {
			return err
		}
		resp = c.write(r)
		return nil
	})
	return resp, err
}

// DeleteRange implements the service.
func (k kv) DeleteRange(
	ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption,
) (resp *pb.DeleteRangeResponse, err error) {
	err = k.do(ctx, func(c *change) error {
		resp = c.drop(r)
		return nil
	})
	return resp, err
}

// Txn implements the service.
func (k kv) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (resp *pb.TxnResponse, err error) {
	err = k.do(ctx, func(c *change) error {
		if err := checkTxn(r); err != nil {
			return err
		}
		path := c.decide(r, nil)
		if err := c.checkTaken(r, &path); err != nil {
			return err
		}
		path.at = 0
		resp, err = c.run(r, &path)
		return err
	})
	return resp, err
}

// Compact implements the service.
func (k kv) Compact(ctx context.Context, r *pb.CompactionRequest, _ ...grpc.CallOption) (resp *pb.CompactionResponse, err error) {
	err = k.do(ctx, func(c *change) error {
		if r.GetRevision() > c.rev {
			return rpctypes.ErrGRPCFutureRev
		}
		i := slices.IndexFunc(c.log, func(l revision) bool { return l.rev > r.GetRevision() })
		if i < 0 {
			i = len(c.log)
		}
		c.log = slices.Clone(c.log[i:])
		resp = &pb.CompactionResponse{Header: c.header()}
		return nil
	})
	return resp, err
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

// path says which branch each transaction takes, in the order in which they are come upon. Etcd decides all of them before
// it runs any, so that none sees what another writes.
type path struct {
	taken []bool
	at    int
}

func (p *path) next() bool {
	p.at++
	return p.taken[p.at-1]
}

func branch(r *pb.TxnRequest, then bool) []*pb.RequestOp {
	if then {
		return r.GetSuccess()
	}
	return r.GetFailure()
}

func (c *change) decide(r *pb.TxnRequest, taken []bool) path {
	holds := !slices.ContainsFunc(r.GetCompare(), func(cmp *pb.Compare) bool { return !c.holds(cmp) })
	taken = append(taken, holds)
	for _, op := range branch(r, holds) {
		if nested := op.GetRequestTxn(); nested != nil {
			taken = c.decide(nested, taken).taken
		}
	}
	return path{taken: taken}
}

// checkTaken refuses what can't be done of the branches that are taken, before anything of them is.
func (c *change) checkTaken(r *pb.TxnRequest, p *path) error {
	for _, op := range branch(r, p.next()) {
		var err error
		switch {
		case op.GetRequestPut() != nil:
			err = c.checkPut(op.GetRequestPut())
		case op.GetRequestTxn() != nil:
			err = c.checkTaken(op.GetRequestTxn(), p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *change) run(r *pb.TxnRequest, p *path) (*pb.TxnResponse, error) {
	resp := &pb.TxnResponse{Succeeded: p.next()}
	for _, op := range branch(r, resp.GetSucceeded()) {
		answer := &pb.ResponseOp{}
		switch {
		case op.GetRequestRange() != nil:
			found, err := c.get(op.GetRequestRange())
			if err != nil {
				return nil, err
			}
			answer.Response = &pb.ResponseOp_ResponseRange{ResponseRange: found}
		case op.GetRequestPut() != nil:
			answer.Response = &pb.ResponseOp_ResponsePut{ResponsePut: c.write(op.GetRequestPut())}
		case op.GetRequestDeleteRange() != nil:
			answer.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: c.drop(op.GetRequestDeleteRange())}
		case op.GetRequestTxn() != nil:
			nested, err := c.run(op.GetRequestTxn(), p)
			if err != nil {
				return nil, err
			}
			answer.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: nested}
		}
		resp.Responses = append(resp.Responses, answer)
	}
	resp.Header = c.written()
	return resp, nil
}

func (c *change) holds(want *pb.Compare) bool {
	keys := c.within(want.GetKey(), want.GetRangeEnd())
	if len(keys) == 0 {
		if want.GetTarget() == pb.Compare_VALUE {
			return false // a value that is not there compares with nothing
		}
		return len(want.GetRangeEnd()) > 0 || matches(want, &mvccpb.KeyValue{})
	}
	return !slices.ContainsFunc(keys, func(key string) bool { return !matches(want, c.values[key]) })
}

func matches(want *pb.Compare, kv *mvccpb.KeyValue) bool {
	n := 0
	switch want.GetTarget() {
	case pb.Compare_VALUE:
		n = compareText(kv.GetValue(), want.GetValue())
	case pb.Compare_CREATE:
		n = cmp.Compare(kv.GetCreateRevision(), want.GetCreateRevision())
	case pb.Compare_MOD:
		n = cmp.Compare(kv.GetModRevision(), want.GetModRevision())
	case pb.Compare_VERSION:
		n = cmp.Compare(kv.GetVersion(), want.GetVersion())
	case pb.Compare_LEASE:
		n = cmp.Compare(kv.GetLease(), want.GetLease())
	}
	switch want.GetResult() {
	case pb.Compare_EQUAL:
		return n == 0
	case pb.Compare_NOT_EQUAL:
		return n != 0
	case pb.Compare_GREATER:
		return n > 0
	}
	return n < 0
}

// checkTxn refuses a transaction of which a branch writes a key twice.
func checkTxn(r *pb.TxnRequest) error {
	for _, ops := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		if _, err := writesOf(ops); err != nil {
			return err
		}
	}
	return nil
}

// writes are the keys that operations may put, and the ranges that they may delete.
type writes struct {
	puts map[string]bool
	dels []*watcher // as ranges
}

func (w *writes) deletes(key string) bool {
	return slices.ContainsFunc(w.dels, func(d *watcher) bool { return d.covers(key) })
}

// writesOf collects what operations may write, with both branches of what is nested, and refuses in etcd's order: a key that
// was put before, or is deleted by what has been looked at.
func writesOf(ops []*pb.RequestOp) (writes, error) {
	all := writes{puts: map[string]bool{}}
	for _, op := range ops {
		if del := op.GetRequestDeleteRange(); del != nil {
			all.dels = append(all.dels, &watcher{key: string(del.GetKey()), end: string(del.GetRangeEnd())})
		}
	}
	for _, op := range ops {
		nested := op.GetRequestTxn()
		if nested == nil {
			continue
		}
		then, err := writesOf(nested.GetSuccess())
		if err != nil {
			return all, err
		}
		other, err := writesOf(nested.GetFailure())
		if err != nil {
			return all, err
		}
		mine := maps.Clone(then.puts)
		maps.Copy(mine, other.puts)
		for key := range mine {
			if all.puts[key] || all.deletes(key) {
				return all, rpctypes.ErrGRPCDuplicateKey
			}
		}
		maps.Copy(all.puts, mine)
		all.dels = slices.Concat(all.dels, then.dels, other.dels)
	}
	for _, op := range ops {
		if put := op.GetRequestPut(); put != nil {
			if key := string(put.GetKey()); all.puts[key] || all.deletes(key) {
				return all, rpctypes.ErrGRPCDuplicateKey
			}
			all.puts[string(put.GetKey())] = true
		}
	}
	return all, nil
}

// RangeStream implements the service: it is not supported.
func (kv) RangeStream(
	context.Context, *pb.RangeRequest, ...grpc.CallOption,
) (grpc.ServerStreamingClient[pb.RangeStreamResponse], error) {
	return nil, status.Error(codes.Unimplemented, "fakeetcd streams no ranges")
}
