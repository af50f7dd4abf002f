package judge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noon is when the made-up histories begin: nothing of before it counts.
var noon = time.Date(2027, 3, 4, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// tale is a history of ten seconds in which all went well: on agents a and b a job of each mode and way, whose runs take 100 ms.
type tale struct {
	History
	revision int64
}

const seconds = 10

func well() *tale {
	h := &tale{History: History{From: at(0), To: at(seconds), Ledger: map[string][]Entry{}, Runs: map[string][]Run{}}}
	h.add(Job{Name: "one", Mode: "one", OnDisconnect: "run", Overlap: "allow", Every: time.Second})
	h.add(Job{Name: "slow", Mode: "one", OnDisconnect: "hold", Overlap: "forbid", Every: 2 * time.Second})
	h.add(Job{Name: "stop", Mode: "one", OnDisconnect: "stop", Overlap: "allow", Every: 5 * time.Second})
	h.add(Job{Name: "race", Mode: "race", OnDisconnect: "run", Overlap: "allow", Every: time.Second})
	h.add(Job{Name: "each", Mode: "each", OnDisconnect: "hold", Overlap: "allow", Every: time.Second, Agents: []string{"a", "b"}})
	return h
}

// add adds a job all of whose occurrences ran, on agent a unless it is on both.
func (h *tale) add(j Job) {
	h.Jobs = append(h.Jobs, j)
	agents := []string{"a"}
	if j.Mode == "each" {
		agents = j.Agents
	}
	for _, agent := range agents {
		h.revision++
		epoch := h.revision
		h.Claims = append(h.Claims, Change{epoch, "job/" + agent + "/" + j.Name, "{}"})
		for due := at(0).Add(j.Every); !due.After(h.To); due = due.Add(j.Every) {
			run := id(j.Name, agent, due)
			h.Ledger[j.Name] = append(h.Ledger[j.Name], Entry{From: due, To: due, Count: 1, End: "ran", Run: run, State: "succeeded", Agent: agent})
			h.claim(j, agent, run, epoch, due)
			h.ran(j.Name, agent, run, epoch, due, due, 100*time.Millisecond)
		}
	}
}

func id(job, agent string, due time.Time) string {
	return fmt.Sprintf("%s-%s-%d", job, agent, due.Unix())
}

func (h *tale) claim(j Job, agent, run string, epoch int64, due time.Time) {
	key := "claim/" + j.Name
	if j.Mode == "each" {
		key += "/" + agent
	}
	h.revision++
	h.Claims = append(h.Claims, Change{h.revision, key, fmt.Sprintf(`{"at":%q,"run":%q,"agent":%q,"epoch":%d}`,
		due.Format(time.RFC3339Nano), run, agent, epoch)})
}

// ran adds the lines of a run. Processes are told apart by how many lines there are.
func (h *tale) ran(job, agent, run string, epoch int64, due, start time.Time, lasts time.Duration) {
	l := Line{Kind: Start, Job: job, Run: run, Due: due, Agent: agent, Epoch: epoch, Wall: start, Since: int64(start.Sub(noon)), PID: len(h.Lines)}
	h.Lines = append(h.Lines, l)
	l.Kind, l.Wall, l.Since = Finish, start.Add(lasts), l.Since+int64(lasts)
	h.Lines = append(h.Lines, l)
}

// entry is the ledger's of an occurrence of a job, on agent a.
func (h *tale) entry(job string, second float64) *Entry {
	list := h.Ledger[job]
	for i := range list {
		if list[i].From.Equal(at(second)) {
			return &list[i]
		}
	}
	panic("no such entry")
}

// forget takes away the lines of an occurrence.
func (h *tale) forget(job string, second float64) {
	var left []Line
	for _, l := range h.Lines {
		if l.Job != job || !l.Due.Equal(at(second)) {
			left = append(left, l)
		}
	}
	h.Lines = left
}

// kill has an occurrence be killed some time after its start, and its lines forgotten.
func (h *tale) kill(job string, second float64, after time.Duration) {
	h.forget(job, second)
	e := h.entry(job, second)
	e.State = "killed"
	h.Runs[job] = append(h.Runs[job], Run{ID: e.Run, State: "killed", ScheduledAt: e.From, Started: e.From, Ended: e.From.Add(after)})
}

// again has an occurrence be lost, and run again elsewhere.
func (h *tale) again(job string, second, started float64) {
	e := h.entry(job, second)
	e.End, e.State, e.Reason = "lost", "lost", "its agent is gone"
	for i := range h.Jobs {
		h.Jobs[i].Again = h.Jobs[i].Again || h.Jobs[i].Name == job
	}
	h.Runs[job] = append(h.Runs[job], Run{ID: "again", RerunOf: e.Run, ScheduledAt: at(second), Agent: "b"})
	h.Ledger[job] = append(h.Ledger[job], Entry{From: at(second), To: at(second), Count: 1, End: "ran", Run: "again", State: "succeeded", Agent: "b"})
	h.ran(job, "b", "again", 7, at(second), at(started), 100*time.Millisecond)
}

// unclaim takes away what the store has of an occurrence.
func (h *tale) unclaim(job string, second float64) {
	var left []Change
	for _, c := range h.Claims {
		if v, ok := c.claim(); !ok || v.job != job || !v.At.Equal(at(second)) {
			left = append(left, c)
		}
	}
	h.Claims = left
}

// drop takes an occurrence out of the ledger.
func (h *tale) drop(job string, second float64) {
	var left []Entry
	for _, e := range h.Ledger[job] {
		if !e.From.Equal(at(second)) {
			left = append(left, e)
		}
	}
	h.Ledger[job] = left
}

// Each promise has a history that breaks it, and is caught; and one that only looks as if it did.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(h *tale)
		want []string // rule, job and a word of each violation
	}{
		{"all is well", func(*tale) {}, nil},

		{"a gap", func(h *tale) { h.drop("one", 4) }, []string{"accounted one gap of 1"}},
		{"a gap at the beginning", func(h *tale) { h.drop("one", 1); h.drop("one", 2) }, []string{"accounted one gap of 2"}},
		{"a gap at the end", func(h *tale) { h.drop("one", seconds) }, []string{"accounted one up to the end"}},
		{"no ledger at all", func(h *tale) { h.Ledger["stop"] = nil }, []string{"accounted stop gap of 2"}},
		{"a gap on one agent of two", func(h *tale) { h.Ledger["each"] = h.Ledger["each"][:len(h.Ledger["each"])-1] },
			[]string{"accounted each up to the end on b"}},
		{"told twice", func(h *tale) { h.Ledger["one"] = append(h.Ledger["one"], *h.entry("one", 4)) },
			[]string{"accounted one in the ledger twice"}},
		{"a stretch that counts one too many", func(h *tale) {
			for s := range 3 {
				h.drop("one", float64(s+4))
				h.forget("one", float64(s+4))
			}
			h.Ledger["one"] = append(h.Ledger["one"], Entry{From: at(4), To: at(6), Count: 4, End: "missed", Reason: "no agent"})
		}, []string{"accounted one counts 4"}},
		{"a stretch", func(h *tale) {
			for s := range 3 {
				h.drop("one", float64(s+4))
				h.forget("one", float64(s+4))
			}
			h.Ledger["one"] = append(h.Ledger["one"], Entry{From: at(4), To: at(6), Count: 3, End: "missed", Reason: "no agent"})
		}, nil},
		{"a stretch that began before", func(h *tale) {
			h.drop("one", 1)
			h.forget("one", 1)
			h.Ledger["one"] = append(h.Ledger["one"], Entry{From: at(-99), To: at(1), Count: 101, End: "missed", Reason: "no agent"})
		}, nil},
		{"an entry of no occurrence", func(h *tale) {
			h.Ledger["slow"] = append(h.Ledger["slow"], Entry{From: at(3), To: at(3), Count: 1, End: "ran", Run: "x", State: "succeeded"})
		}, []string{"accounted slow does not name", "truthful slow wrote nothing"}},
		{"still open", func(h *tale) { *h.entry("one", 4) = Entry{From: at(4), To: at(4), Count: 1, End: "open"} },
			[]string{`accounted one "open"`}},
		{"still running", func(h *tale) { h.entry("one", 4).State = "running" }, []string{"accounted one called running"}},
		{"without a reason", func(h *tale) {
			h.forget("one", 4)
			*h.entry("one", 4) = Entry{From: at(4), To: at(4), Count: 1, End: "missed"}
		}, []string{"accounted one without a reason"}},

		{"called ran, and did not", func(h *tale) { h.forget("one", 4) }, []string{"truthful one wrote nothing"}},
		{"called ran, and lost its power", func(h *tale) {
			h.forget("one", 4)
			h.Troubles = append(h.Troubles, Trouble{Agent: "a", From: at(4.01), To: at(8), Dark: true})
		}, nil},
		{"called ran, and another lost its power", func(h *tale) {
			h.forget("one", 4)
			h.Troubles = append(h.Troubles, Trouble{Agent: "b", From: at(4.01), To: at(8), Dark: true})
		}, []string{"truthful one wrote nothing"}},
		{"killed at once, and never said a word", func(h *tale) { h.kill("one", 4, time.Second) }, nil},
		{"killed later, and never said a word", func(h *tale) { h.kill("one", 4, 3*time.Second) }, []string{"truthful one wrote nothing"}},
		{"called missed, and ran", func(h *tale) { h.entry("one", 4).End, h.entry("one", 4).Reason = "missed", "late" },
			[]string{"truthful one calls it missed"}},
		{"called skipped, and ran", func(h *tale) { h.entry("each", 4).End, h.entry("each", 4).Reason = "skipped", "busy" },
			[]string{"truthful each calls it skipped"}},
		{"called lost, and ran", func(h *tale) { h.entry("one", 4).End, h.entry("one", 4).Reason = "lost", "no word of it" }, nil},
		{"ran for no occurrence", func(h *tale) { h.ran("slow", "a", "stray", 1, at(3), at(3), time.Millisecond) },
			[]string{"truthful slow does not name", "claimed slow no claim"}},

		{"a double that is told", func(h *tale) {
			h.ran("one", "b", id("one", "a", at(4)), 1, at(4), at(4.1), time.Millisecond)
			h.Runs["one"] = append(h.Runs["one"], Run{ID: "d", Doubles: id("one", "a", at(4)), ScheduledAt: at(4), Agent: "b"})
			h.Ledger["one"] = append(h.Ledger["one"], Entry{From: at(4), To: at(4), Count: 1, End: "ran", Run: "d", State: "succeeded", Agent: "b"})
		}, nil},
		{"a double of what was given up", func(h *tale) {
			h.unclaim("one", 4)
			*h.entry("one", 4) = Entry{From: at(4), To: at(4), Count: 1, End: "ran", Run: "d", State: "succeeded", Agent: "a"}
			h.Runs["one"] = append(h.Runs["one"], Run{ID: "d", Doubles: id("one", "a", at(4)), ScheduledAt: at(4), Agent: "a", Unclaimed: true})
		}, nil},
		{"a double of what was skipped", func(h *tale) {
			h.forget("one", 4)
			h.entry("one", 4).End, h.entry("one", 4).State, h.entry("one", 4).Reason = "skipped", "skipped", "replaced"
			h.ran("one", "b", id("one", "a", at(4)), 1, at(4), at(4.1), time.Millisecond)
			h.Runs["one"] = append(h.Runs["one"], Run{ID: "d", Doubles: id("one", "a", at(4)), ScheduledAt: at(4), Agent: "b"})
			h.Ledger["one"] = append(h.Ledger["one"], Entry{From: at(4), To: at(4), Count: 1, End: "ran", Run: "d", State: "succeeded", Agent: "b"})
		}, nil},
		{"a double elsewhere of what was skipped", func(h *tale) {
			h.entry("one", 4).End, h.entry("one", 4).State, h.entry("one", 4).Reason = "skipped", "skipped", "replaced"
			h.ran("one", "b", id("one", "a", at(4)), 1, at(4), at(4.1), time.Millisecond)
			h.Runs["one"] = append(h.Runs["one"], Run{ID: "d", Doubles: id("one", "a", at(4)), ScheduledAt: at(4), Agent: "b"})
			h.Ledger["one"] = append(h.Ledger["one"], Entry{From: at(4), To: at(4), Count: 1, End: "ran", Run: "d", State: "succeeded", Agent: "b"})
		}, []string{"truthful one calls it skipped"}},
		{"a double that never was", func(h *tale) {
			h.Runs["one"] = append(h.Runs["one"], Run{ID: "d", Doubles: id("one", "a", at(4)), ScheduledAt: at(4), Agent: "b"})
			h.Ledger["one"] = append(h.Ledger["one"], Entry{From: at(4), To: at(4), Count: 1, End: "ran", Run: "d", State: "succeeded", Agent: "b"})
		}, []string{"truthful one none wrote there"}},
		{"a double that is not told", func(h *tale) { h.ran("one", "b", id("one", "a", at(4)), 1, at(4), at(4.1), time.Millisecond) },
			[]string{"once one ran 2 times"}},
		{"twice on one agent", func(h *tale) {
			h.ran("one", "a", id("one", "a", at(4)), 1, at(4), at(4.1), time.Millisecond)
			h.Runs["one"] = append(h.Runs["one"], Run{ID: "d", Doubles: id("one", "a", at(4)), ScheduledAt: at(4)})
		}, []string{"once one the same agent"}},
		{"a double of a job that holds", func(h *tale) {
			h.ran("slow", "b", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(4.5), time.Millisecond)
			h.Runs["slow"] = append(h.Runs["slow"], Run{ID: "d", Doubles: id("slow", "a", at(4)), ScheduledAt: at(4)})
		}, []string{"never slow never to run twice"}},
		{"a double of a race", func(h *tale) {
			h.ran("race", "b", id("race", "a", at(4)), 1, at(4), at(4.1), time.Millisecond)
			h.Runs["race"] = append(h.Runs["race"], Run{ID: "d", Doubles: id("race", "a", at(4)), ScheduledAt: at(4)})
		}, []string{"never race never to run twice"}},
		{"twice on one of each", func(h *tale) {
			h.ran("each", "b", id("each", "b", at(4)), h.epochOn("each", "b"), at(4), at(4.1), time.Millisecond)
		}, []string{"never each never to run twice"}},

		{"run again in the place of a lost one", func(h *tale) { h.again("slow", 4, 4.5) }, nil},
		{"run again, and not asked to", func(h *tale) {
			h.again("slow", 4, 4.5)
			h.Jobs[1].Again = false
		}, []string{"once slow did not ask for"}},
		{"run again twice", func(h *tale) {
			h.again("slow", 4, 4.5)
			h.ran("slow", "b", "again", 9, at(4), at(5), time.Millisecond)
		}, []string{"once slow ran again 2 times"}},
		{"run again while it went on", func(h *tale) {
			h.forget("slow", 4)
			h.ran("slow", "a", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(4), time.Second)
			h.again("slow", 4, 4.5)
		}, []string{"apart slow while the run of", "never slow while it went on"}},
		{"run again, and nothing was", func(h *tale) {
			h.again("slow", 4, 4.5)
			h.Lines = h.Lines[:len(h.Lines)-2]
		}, []string{"truthful slow run again wrote nothing"}},

		{"started while nothing reached it", func(h *tale) {
			h.Troubles = append(h.Troubles, Trouble{Agent: "a", From: at(-9), To: at(9), Alone: true})
		}, []string{"lonely slow started", "lonely stop started", "lonely each started"}},
		{"started while it was hurt in another way", func(h *tale) {
			h.Troubles = append(h.Troubles, Trouble{Agent: "a", From: at(-9), To: at(9)})
		}, nil},
		{"went on while nothing reached it", func(h *tale) {
			h.ran("stop", "a", "long", h.epoch("stop"), at(5), at(5), time.Minute)
			h.forget("stop", 5)
			h.ran("stop", "a", id("stop", "a", at(5)), h.epoch("stop"), at(5), at(5), time.Minute)
			h.Troubles = append(h.Troubles, Trouble{Agent: "a", From: at(9), To: at(80), Alone: true})
		}, []string{"lonely stop went on"}},

		{"two at once", func(h *tale) {
			h.forget("slow", 4)
			h.ran("slow", "a", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(4), 3*time.Second)
		}, []string{"apart slow while the run of"}},
		{"two at once, that were to wait for each other", func(h *tale) {
			h.Jobs[1].Overlap = "queue"
			h.forget("slow", 4)
			h.ran("slow", "a", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(4), 3*time.Second)
		}, []string{"apart slow while the run of"}},
		{"two at once, of which one was to replace the other", func(h *tale) {
			h.Jobs[1].Overlap = "replace"
			h.forget("slow", 4)
			h.ran("slow", "a", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(4), 3*time.Second)
		}, []string{"apart slow while the run of"}},
		{"two at once, the later one for an earlier occurrence", func(h *tale) {
			h.forget("slow", 4)
			h.ran("slow", "a", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(6.05), time.Second)
		}, []string{"apart slow while the run of"}},
		{"two at once, of which one was cut off", func(h *tale) {
			h.forget("slow", 4)
			h.ran("slow", "b", id("slow", "a", at(4)), h.epoch("slow"), at(4), at(4), 3*time.Second)
			h.Troubles = append(h.Troubles, Trouble{Agent: "b", From: at(4.5), To: at(5)})
		}, nil},

		{"the cursor goes back", func(h *tale) { h.claim(h.Jobs[0], "a", id("one", "a", at(3)), 1, at(3)) },
			[]string{"claimed one takes its cursor back"}},
		{"two winners", func(h *tale) { h.claim(h.Jobs[0], "a", "other", 1, at(seconds)) }, []string{"claimed one and it was"}},
		{"won after it was passed over", func(h *tale) {
			h.claim(h.Jobs[1], "a", "", h.epoch("slow"), at(seconds+2))
			h.claim(h.Jobs[1], "a", "late", h.epoch("slow"), at(seconds+2))
		}, []string{"claimed slow and it was"}},
		{"settled after it was won", func(h *tale) { h.claim(h.Jobs[1], "", "", 99, at(seconds)) }, nil},
		{"won without having it", func(h *tale) { h.claim(h.Jobs[0], "b", "other", 1, at(seconds+1)) }, []string{"claimed one its agent's is 0"}},
		{"started without a claim", func(h *tale) { h.unclaim("one", 4) }, []string{"claimed one no claim"}},
		{"started without a claim, cut off", func(h *tale) {
			h.unclaim("one", 4)
			h.Runs["one"] = append(h.Runs["one"], Run{ID: id("one", "a", at(4)), Unclaimed: true, ScheduledAt: at(4)})
		}, nil},
		{"started by another's claim", func(h *tale) {
			h.forget("one", 4)
			h.ran("one", "a", id("one", "a", at(4)), 99, at(4), at(4), time.Millisecond)
		}, []string{"claimed one epoch 99"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := well()
			tt.tell(h)
			found := Judge(&h.History)
			told := ""
			for _, v := range found {
				told += v.String() + "\n" + h.About(v)
			}
			var got []string
			for i, want := range tt.want {
				words := strings.SplitN(want, " ", 3)
				if !covers(found, words[0], words[1], words[2]) {
					got = append(got, fmt.Sprintf("%d: none is: %s", i, want))
				}
			}
			for _, v := range found {
				if !covered(tt.want, v) {
					got = append(got, "not asked for: "+v.String())
				}
			}
			if diff := cmp.Diff([]string(nil), got); diff != "" {
				t.Errorf("%s\nfound:\n%s", diff, told)
			}
		})
	}
}

func covers(found []Violation, rule, job, word string) bool {
	for _, v := range found {
		if v.Rule == rule && v.Job == job && strings.Contains(v.Text, word) {
			return true
		}
	}
	return false
}

func covered(want []string, v Violation) bool {
	for _, w := range want {
		if words := strings.SplitN(w, " ", 3); covers([]Violation{v}, words[0], words[1], words[2]) {
			return true
		}
	}
	return false
}

func (h *tale) epoch(job string) int64 { return h.epochOn(job, "a") }

func (h *tale) epochOn(job, agent string) int64 {
	for _, c := range h.Claims {
		if c.Key == "job/"+agent+"/"+job {
			return c.Revision
		}
	}
	panic("no such assignment")
}

func TestDue(t *testing.T) {
	j := Job{Every: 20 * time.Second, Offset: 3 * time.Second}
	for _, tt := range []struct {
		at    float64
		names bool
		next  float64
	}{{3, true, 23}, {2.5, false, 3}, {3.5, false, 23}, {-17, true, 3}, {63, true, 83}} {
		if got := j.names(at(tt.at)); got != tt.names {
			t.Errorf("names %v: %v", tt.at, got)
		}
		if got := j.after(at(tt.at)); !got.Equal(at(tt.next)) {
			t.Errorf("after %v: %v", tt.at, got)
		}
	}
	if n := j.count(at(3), at(63)); n != 4 {
		t.Errorf("count: %d", n)
	}
	if n := j.count(at(23), at(3)); n != 0 {
		t.Errorf("count backwards: %d", n)
	}
}
