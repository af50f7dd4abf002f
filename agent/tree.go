package agent

import "time"

// tree is all processes of an attempt, its leader's and whatever they have started: a [cgroup], or else what the kernel tells
// of each process ([kin]).
type tree interface {
	count() int // of processes that go on
	term()      // asks all of them to end
	kill()
}

const (
	// treePoll is how often a tree that is to end is looked at.
	treePoll = 20 * time.Millisecond

	// killWait is how long processes may take to die that were killed. One that waits for a disk in vain takes for ever.
	killWait = 10 * time.Second
)

// endTree ends what is left of a tree: TERM, and after the grace KILL. It returns how many processes there were, and how many
// don't even die of that.
func endTree(t tree, grace time.Duration) (found, left int) {
	if found = t.count(); found == 0 {
		return 0, 0
	}
	t.term()
	poll := time.NewTicker(treePoll)
	defer poll.Stop()
	began, killed := time.Now(), false
	for {
		<-poll.C
		left = t.count()
		killed = killed || time.Since(began) >= grace
		switch {
		case left == 0, time.Since(began) > grace+killWait:
			return found, left
		case killed: // again, for what has come since
			t.kill()
		}
	}
}
