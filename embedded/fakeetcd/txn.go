package fakeetcd

import (
	"cmp"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

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
