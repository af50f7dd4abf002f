// Package ledger tells what became of each occurrence of each job: RAN, SKIPPED, MISSED or LOST, with the reason, or that it
// is still open. [Ledger] answers from what others keep: the definitions that were in force and the job's cursor ([Source]),
// and the runs and stretches that were recorded ([RunLog]). It keeps nothing itself.
//
// An account walks a time from its beginning to its end. What should have been, it computes anew from the definition that
// was in force at each instant; what was, it reads. A run outweighs a stretch, a stretch outweighs what follows from the
// definitions: that a calendar kept the job from running, that it was paused, that it is not decided yet. A list, an
// explanation and a verification are three views of an account.
//
// The one thing to know: what lies at or before the cursor was decided, and each decision left a record. So an occurrence
// there of which nothing is recorded is a gap, and says that something was lost; one after the cursor is only open.
//
// It can't tell gaps from before the oldest definition that is kept, nor of a job that was removed: there it repeats what is
// recorded. What ran by hand is no occurrence and not in it.
package ledger
