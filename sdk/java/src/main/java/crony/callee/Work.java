package crony.callee;

/** What a service does when crony calls it. */
@FunctionalInterface
public interface Work {
  /**
   * Does the work of one attempt of a run, on a thread of its own. The thread is interrupted when the result is no longer
   * wanted: the deadline has passed, the run was ended, or the service goes down. Work that waits for nothing asks
   * {@link Run#stopped()} now and then.
   *
   * @param run what is to be done, and where to tell of it
   * @return the result's data, which becomes JSON: null for none, strings, numbers, booleans, maps, collections, arrays,
   *     records, enums, optionals, times, URIs and UUIDs. Anything else, and more than 48 KiB, makes the run fail
   * @throws Exception if the run has failed; its message becomes the reason that people read
   */
  Object run(Run run) throws Exception;
}
