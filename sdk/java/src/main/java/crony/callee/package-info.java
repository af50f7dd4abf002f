/**
 * The callee's side of crony's asynchronous jobs: a service is called, says at once that it has accepted, works in the
 * background, and tells crony's servers of its progress, its log and its result.
 *
 * <pre>{@code
 * Callee callee = Callee.builder().trust(Path.of("/etc/crony/ca.pem")).build();
 * server.createContext("/jobs/import", callee.handler(run -> {
 *   run.progress(40, "half of the files");
 *   run.log("read orders.csv");
 *   return Map.of("rows", 12);
 * }));
 * }</pre>
 *
 * <p>The one thing to know: what a run tells is kept in memory until a server has it. It survives servers that are down,
 * slow or restarted, up to the run's deadline, and not the end of this process: {@link crony.callee.Callee#close} delivers
 * what it can. A run whose callee died is ended by its deadline.
 *
 * <p>Who can call the service can make it work, and tells it to which servers to report: guard it as any other endpoint, or
 * name the servers with {@link crony.callee.Callee.Builder#servers}. The protocol is in docs/callbacks.md of crony's sources.
 */
package crony.callee;
