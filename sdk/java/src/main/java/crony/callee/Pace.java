package crony.callee;

import java.time.Duration;

/**
 * How fast things are delivered. Tests are faster.
 *
 * @param gather how long what is told waits for company; a result does not
 * @param first the pause after every server was tried in vain; it doubles
 * @param longest up to this
 * @param ask how long a run may be silent before it asks whether it is to stop
 * @param after how long after the work delivery is tried where the call sets no deadline
 * @param grace how long after the deadline delivery is tried
 * @param answer how long a server may take for its answer
 */
record Pace(Duration gather, Duration first, Duration longest, Duration ask, Duration after, Duration grace,
    Duration answer) {

  static final Pace USUAL = new Pace(Duration.ofSeconds(1), Duration.ofMillis(250), Duration.ofSeconds(15),
      Duration.ofSeconds(10), Duration.ofMinutes(15), Duration.ofSeconds(5), Duration.ofSeconds(10));
}
