package crony.callee;

import java.time.Instant;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * One attempt of a run, as its callee sees it. All methods may be called by any thread, none waits for a server, and what is
 * told after the work has ended, or when it has been stopped, goes nowhere.
 */
public interface Run {
  /**
   * Returns the run's id: the key by which to see that something was done before, should crony call again.
   *
   * @return the id, the same for all attempts of a run
   */
  String id();

  /**
   * Returns the job's name.
   *
   * @return the name; empty if the call did not say
   */
  String job();

  /**
   * Returns which attempt of the run this is.
   *
   * @return the number, from 1
   */
  int attempt();

  /**
   * Returns the time that the run is for.
   *
   * @return the time; empty if the call did not say
   */
  Optional<Instant> scheduledAt();

  /**
   * Returns when crony ends the run, by crony's clock. The work is interrupted when the call's timeout has passed by the
   * callee's own, so that clocks which differ do no harm.
   *
   * @return the time; empty if there is none
   */
  Optional<Instant> deadline();

  /**
   * Returns the job's fencing token: it grows whenever the job changes, or moves to another agent. Who stores something for
   * the run can refuse a smaller one.
   *
   * @return the epoch; empty if the call did not say
   */
  OptionalLong epoch();

  /**
   * Returns what the job's manifest gives as the call's body.
   *
   * @return a copy of the body's bytes
   */
  byte[] body();

  /**
   * Tells how far the work is. Of what is told in quick succession, or while no server answers, the newest counts.
   *
   * @param percent 0 to 100; what is beyond is taken for the nearer of the two
   * @param message what it is at, in a few words; null for none; of more than 500 bytes, the beginning
   */
  void progress(int percent, String message);

  /**
   * Adds text to the run's log. When more has piled up than may, as no server takes any, the oldest is dropped, which leaves
   * a gap.
   *
   * @param text one line or several; a line feed is added to the last if it has none
   */
  void log(String text);

  /**
   * Says whether the work is to end because its result is no longer wanted.
   *
   * @return the reason if it is; empty as long as the work is to go on
   */
  Optional<String> stopped();
}
