package placement

import (
	"cmp"
	"container/heap"
	"math"
	"slices"

	"crony"
)

// Turns is where the rotation among agents stands: by how many jobs each is behind what its weight gives it or, below zero,
// ahead. A job goes to the agent that is the most behind once all have been credited with their shares of it, which is the
// smooth weighted round-robin of nginx; many jobs at once are shared out in one step, so that thousands cost little more
// than one.
type Turns map[string]float64

// startTurns returns where the rotation stands for somebody who does not know its past, and has only how many jobs each agent
// has: who has less than its share is in turn a little earlier. By one job at the most, for a rotation does not make up for
// what was before it: whoever is new would else get every job for a while.
func startTurns(agents []crony.AgentStatus, load map[string]int) Turns {
	jobs, weights := 0, 0
	for i := range agents {
		jobs += load[agents[i].ID]
		weights += max(agents[i].Weight, 1)
	}
	t := make(Turns, len(agents))
	for i := range agents {
		a := &agents[i]
		behind := float64(jobs)*float64(max(a.Weight, 1))/float64(weights) - float64(load[a.ID])
		t[a.ID] = min(max(behind, -1), 1)
	}
	return t
}

// keep forgets all agents but these.
func (t Turns) keep(agents []crony.AgentStatus) {
	known := make(map[string]bool, len(agents))
	for i := range agents {
		known[agents[i].ID] = true
	}
	for id := range t {
		if !known[id] {
			delete(t, id)
		}
	}
}

// deal returns for each of n jobs which of the agents gets it, and moves the rotation on. The agents are in the order of their
// ids; with no agent there is no answer.
func (t Turns) deal(n int, agents []*crony.AgentStatus) []int {
	if n == 0 || len(agents) == 0 {
		return nil
	}
	total := 0
	for _, a := range agents {
		total += max(a.Weight, 1)
	}
	due, counts, left := make([]float64, len(agents)), make([]int, len(agents)), n
	for i, a := range agents {
		due[i] = t[a.ID] + float64(n)*float64(max(a.Weight, 1))/float64(total)
		counts[i] = max(0, int(math.Floor(due[i])))
		left -= counts[i]
	}
	even(due, counts, left)
	for i, a := range agents {
		t[a.ID] = due[i] - float64(counts[i])
	}
	return smooth(n, counts)
}

// even has the counts change by left in all, one at a time: up where they are the furthest below what is due, or down where
// they are the furthest above.
func even(due []float64, counts []int, left int) {
	sign := 1
	if left < 0 {
		sign, left = -1, -left
	}
	q := &queue{less: func(a, b int) bool {
		x, y := float64(sign)*(due[a]-float64(counts[a])), float64(sign)*(due[b]-float64(counts[b]))
		return x > y || x == y && a < b
	}}
	for i := range counts {
		if sign > 0 || counts[i] > 0 {
			q.list = append(q.list, i)
		}
	}
	heap.Init(q)
	for ; left > 0; left-- {
		first := q.list[0]
		counts[first] += sign
		if sign < 0 && counts[first] == 0 {
			heap.Pop(q)
			continue
		}
		heap.Fix(q, 0)
	}
}

// smooth spreads each agent's count evenly over n jobs.
func smooth(n int, counts []int) []int {
	type turn struct {
		at    float64
		agent int
	}
	turns := make([]turn, 0, n)
	for agent, count := range counts {
		for k := range count {
			turns = append(turns, turn{(float64(k) + 0.5) / float64(count), agent})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int { return cmp.Or(cmp.Compare(a.at, b.at), a.agent-b.agent) })
	picks := make([]int, n)
	for i := range turns {
		picks[i] = turns[i].agent
	}
	return picks
}

// least returns for each of n jobs which of the agents gets it: the one that has the fewest jobs then; of equals the
// weightier, then the one whose id is less.
func least(n int, agents []*crony.AgentStatus, load func(agent string) int) []int {
	if n == 0 || len(agents) == 0 {
		return nil
	}
	loads := make([]int, len(agents))
	q := &queue{less: func(a, b int) bool {
		return cmp.Or(loads[a]-loads[b], agents[b].Weight-agents[a].Weight, a-b) < 0
	}}
	for i, a := range agents {
		loads[i] = load(a.ID)
		q.list = append(q.list, i)
	}
	heap.Init(q)
	picks := make([]int, n)
	for i := range picks {
		picks[i] = q.list[0]
		loads[picks[i]]++
		heap.Fix(q, 0)
	}
	return picks
}

// queue is a heap of agents, by their index.
type queue struct {
	list []int
	less func(a, b int) bool
}

func (q *queue) Len() int           { return len(q.list) }
func (q *queue) Less(i, j int) bool { return q.less(q.list[i], q.list[j]) }
func (q *queue) Swap(i, j int)      { q.list[i], q.list[j] = q.list[j], q.list[i] }

// Push adds an agent.
func (q *queue) Push(x any) { q.list = append(q.list, x.(int)) }

// Pop takes the last.
func (q *queue) Pop() any {
	last := q.list[len(q.list)-1]
	q.list = q.list[:len(q.list)-1]
	return last
}
