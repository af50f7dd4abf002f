package callee

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
	"unicode/utf8"
)

// event is one thing that is told; see the API's CalleeEvent.
type event struct {
	Seq      int       `json:"seq"`
	At       time.Time `json:"at"`
	Progress *progress `json:"progress,omitempty"`
	Log      *logged   `json:"log,omitempty"`
	Result   *result   `json:"result,omitempty"`
}

type progress struct {
	Percent int    `json:"percent"`
	Message string `json:"message,omitempty"`
}

type logged struct {
	Offset int64  `json:"offset"`
	Text   string `json:"text"`
}

type result struct {
	State  string          `json:"state"`
	Reason string          `json:"reason,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
}

const (
	batchTime  = 200 * time.Millisecond // between two reports: what comes together is told together
	firstWait  = 200 * time.Millisecond // before a server is asked again
	longestGap = 10 * time.Second
	maxPiece   = 64 << 10 // bytes of a log event
	lastCalls  = 5 * time.Second
)

// errRefused says that no server will take a report, whenever it is told.
var errRefused = errors.New("refused")

// deliver tells the servers what there is to tell, until the result is told, or given up. What was told without an answer is told
// again as it was: nothing counts twice by that.
func (r *Run) deliver(s *Service) {
	budget, cancel := context.WithDeadline(context.Background(), r.Deadline.Add(lastCalls))
	defer cancel()
	go func() {
		select {
		case <-r.given:
			cancel()
		case <-budget.Done():
		}
	}()
	for {
		select {
		case <-r.wake:
		case <-budget.Done():
			r.gaveUp(s, context.Cause(budget))
			return
		}
		for events := r.take(); len(events) > 0; events = r.take() {
			last := events[len(events)-1].Result != nil
			err := r.tell(budget, s, events)
			if errors.Is(err, errRefused) && last && len(events) > 1 { // something else may be what is wrong
				err = r.tell(budget, s, events[len(events)-1:])
			}
			switch {
			case err == nil && last:
				return
			case budget.Err() != nil, last:
				r.gaveUp(s, err)
				return
			case err != nil:
				s.log.Warn("servers do not take what is told of a run", "run", r.ID, "err", err)
			}
			if !r.rest(budget) {
				break
			}
		}
	}
}

// rest waits a while, so that events gather, unless the work is done; it says whether there may be more to tell.
func (r *Run) rest(ctx context.Context) bool {
	r.mu.Lock()
	done := r.result != nil
	r.mu.Unlock()
	return done || sleep(ctx, batchTime)
}

func (r *Run) gaveUp(s *Service, err error) {
	s.log.Error("result of a run not told", "run", r.ID, "job", r.Job, "attempt", r.Attempt, "err", err)
}

// take returns what is to be told next; the result comes last, when nothing else is left.
func (r *Run) take() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []event
	if r.progress != nil {
		events, r.progress = append(events, *r.progress), nil
	}
	if n := min(len(r.text), maxPiece); r.seq >= maxSeq {
		r.text = nil
	} else if n > 0 {
		for n < len(r.text) && !utf8.RuneStart(r.text[n]) {
			n--
		}
		r.seq++
		events = append(events, event{Seq: r.seq, At: time.Now().UTC(), Log: &logged{Offset: r.offset, Text: string(r.text[:n])}})
		r.offset += int64(n)
		r.text = append([]byte(nil), r.text[n:]...)
	}
	if len(r.text) == 0 {
		r.offset, r.gap = r.offset+r.gap, 0
	}
	if r.result != nil && len(r.text) == 0 {
		events = append(events, *r.result)
	}
	return events
}

// tell tells events to one server after the other, until one has them on record.
func (r *Run) tell(ctx context.Context, s *Service, events []event) error {
	body, err := json.Marshal(map[string]any{"attempt": r.Attempt, "events": events})
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	for pause := firstWait; ; pause = min(2*pause, longestGap) {
		for range r.servers {
			stop, err := r.post(ctx, s, body)
			switch {
			case err == nil && stop != "":
				r.cancel(fmt.Errorf("callee: %s", stop))
				return nil
			case err == nil, errors.Is(err, errRefused):
				return err
			case ctx.Err() != nil:
				return errors.Join(context.Cause(ctx), err)
			}
			s.log.Debug("server does not take what is told of a run", "run", r.ID, "server", r.servers[0], "err", err)
			r.servers = append(r.servers[1:len(r.servers):len(r.servers)], r.servers[0])
		}
		if !sleep(ctx, pause/2+rand.N(pause)) {
			return context.Cause(ctx)
		}
	}
}

// post makes one request to the first of the servers. Stop says why the work is to be given up, if it is.
func (r *Run) post(ctx context.Context, s *Service, body []byte) (stop string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.servers[0]+"/api/v1/callbacks/"+r.ID, bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRefused, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+r.token)
	resp, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPiece))
	if err != nil {
		return "", err
	}
	var answer struct{ Stop, Detail string }
	wrong := json.Unmarshal(text, &answer)
	switch resp.StatusCode {
	case http.StatusOK:
		if wrong != nil {
			return "", fmt.Errorf("an answer that is not a server's: %w", wrong)
		}
		return answer.Stop, nil
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge:
		if wrong == nil { // else it is somebody else's, in between
			return "", fmt.Errorf("%w: %s: %.200s", errRefused, resp.Status, answer.Detail)
		}
	}
	return "", fmt.Errorf("answered %s: %.200s", resp.Status, answer.Detail)
}

// sleep waits, and says whether it has for all of the time.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
