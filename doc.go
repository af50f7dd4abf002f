// Package crony is the domain of a scheduler for fleets: the nouns that every other part speaks of, the rules that hold
// for them wherever they are kept, and the contracts of their stores.
//
// A [Job] says what to run and when. Each instant that its schedule names is an occurrence. The servers place a job on an
// agent by an [Assignment]; the agent asks for a [Claim] on each occurrence shortly before it is due, and only a granted
// claim may start. What starts is a [Run]: it has one or more attempts, and output. A run is never stored as one mutable
// record: it is the fold of immutable facts ([Fact]), so that the same facts arriving twice, or late, or by two ways, always
// make the same run.
//
// The one thing to know: a definition is written once, in the state store, with a generation that only grows; everything
// else (assignment, claim, run) names the generation it was made from.
//
// This package imports the standard library and leaves of the project: internal/schedule (what a schedule means),
// internal/selector (which labels are meant) and internal/strict (how documents are decoded). It opens nothing, starts nothing
// and keeps no state.
package crony
