/** The callee's side of crony's asynchronous jobs: see {@link crony.callee}. */
module crony.callee {
  requires java.net.http;
  requires transitive jdk.httpserver;

  exports crony.callee;
}
