package crony.callee;

import static crony.callee.Tests.check;
import static crony.callee.Tests.until;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Function;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;

/**
 * Servers that take reports as crony's do, and hold them to the protocol; what they know is shared. Each can be made to answer
 * otherwise, to lose its answers, and to be down.
 */
final class FakeCluster implements AutoCloseable {
  static final String TOKEN = "secret-token-of-";

  /** What a server does with a request beside the ordinary. */
  record Fault(boolean stores, int status, String body) {
    static final Fault NONE = new Fault(true, 200, "{}");
    static final Fault LOSES_ANSWER = new Fault(true, 0, "");
    static final Fault HANGS = new Fault(false, -1, "");
    static final Fault PROXY_PAGE = new Fault(false, 200, "<html>welcome</html>");
    static final Fault ENDLESS = new Fault(false, 200, "{\"x\": \"" + "x".repeat(100_000) + "\"}");

    static Fault status(int status) {
      return new Fault(false, status, "{}");
    }

    static Fault stop(String reason) {
      return new Fault(true, 200, Json.write(Map.of("stop", reason), 1000));
    }
  }

  final class Server {
    private final SSLContext tls;
    private final Deque<Fault> script = new ArrayDeque<>();
    private Fault usual = Fault.NONE;
    private HttpServer http;
    private int port;

    private Server(SSLContext tls) throws IOException {
      this.tls = tls;
      up();
    }

    void up() throws IOException {
      InetSocketAddress at = new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
      if (tls == null) {
        http = HttpServer.create(at, 1000);
      } else {
        HttpsServer https = HttpsServer.create(at, 1000);
        https.setHttpsConfigurator(new HttpsConfigurator(tls));
        http = https;
      }
      port = http.getAddress().getPort();
      http.setExecutor(threads);
      http.createContext("/api/v1/callbacks/", e -> {
        try (e) {
          answer(this, e);
        }
      });
      http.start();
    }

    void down() {
      http.stop(0);
    }

    void next(Fault... faults) {
      synchronized (FakeCluster.this) {
        script.addAll(Arrays.asList(faults));
      }
    }

    void always(Fault fault) {
      synchronized (FakeCluster.this) {
        usual = fault;
      }
    }

    String url() {
      return (tls == null ? "http" : "https") + "://127.0.0.1:" + port;
    }
  }

  private final ExecutorService threads = Executors.newCachedThreadPool();
  final List<Server> servers = new ArrayList<>();

  // Guarded by this.
  private final Map<String, TreeMap<Long, Map<?, ?>>> events = new HashMap<>(); // by run/attempt and number
  private final List<String> faults = new ArrayList<>(); // of the callee
  private int requests;

  FakeCluster(int n) throws IOException {
    for (int i = 0; i < n; i++) {
      servers.add(new Server(null));
    }
  }

  FakeCluster(SSLContext tls) throws IOException {
    servers.add(new Server(tls));
  }

  /** Returns the headers of a call; those given, as name and value by turns, replace or remove. */
  Function<String, String> call(String run, String... other) {
    Map<String, String> headers = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
    headers.putAll(headers(run));
    for (int i = 0; i < other.length; i += 2) {
      headers.put(other[i], other[i + 1]);
    }
    return headers::get;
  }

  Map<String, String> headers(String run) {
    return Map.of("Crony-Job", "import", "Crony-Run-Id", run, "Crony-Scheduled-At", "2027-03-01T04:00:00Z",
        "Crony-Attempt", "1", "Crony-Epoch", "77", "Crony-Token", TOKEN + run, "Crony-Timeout", "3600",
        "Crony-Deadline", "2027-03-01T05:00:00+00:00",
        "Crony-Servers", servers.stream().map(Server::url).collect(Collectors.joining(",")));
  }

  private void answer(Server server, HttpExchange e) throws IOException {
    byte[] body = e.getRequestBody().readAllBytes();
    Fault fault;
    int status;
    synchronized (this) {
      requests++;
      fault = server.script.isEmpty() ? server.usual : server.script.poll();
      status = fault.stores ? take(e, body) : 200;
    }
    if (status == 200) {
      status = fault.status;
    }
    if (status <= 0) { // the exchange is closed without an answer, by and by
      hang(status);
      return;
    }
    byte[] text = fault.body.getBytes(StandardCharsets.UTF_8);
    e.sendResponseHeaders(status, status == 204 ? -1 : text.length);
    if (status != 204) {
      e.getResponseBody().write(text);
    }
  }

  private void hang(int status) {
    try {
      Thread.sleep(status < 0 ? 3_600_000 : 0);
    } catch (InterruptedException e) { // the cluster is closed
      Thread.currentThread().interrupt();
    }
  }

  private int take(HttpExchange e, byte[] body) {
    String run = e.getRequestURI().getPath().substring("/api/v1/callbacks/".length());
    if (!("Bearer " + TOKEN + run).equals(e.getRequestHeaders().getFirst("Authorization"))) {
      return 401;
    }
    try {
      check(e.getRequestMethod().equals("POST"), "method %s", e.getRequestMethod());
      check(body.length <= 1 << 20, "%d bytes", body.length);
      Map<?, ?> report = (Map<?, ?>) JsonReader.read(new String(body, StandardCharsets.UTF_8));
      long attempt = (Long) report.get("attempt");
      List<?> told = (List<?>) report.get("events");
      check(attempt >= 1 && report.size() == 2, "report %s", report.keySet());
      check(!told.isEmpty() && told.size() <= 1000, "%d events", told.size());
      TreeMap<Long, Map<?, ?>> known = events.computeIfAbsent(run + "/" + attempt, k -> new TreeMap<>());
      for (Object o : told) {
        Map<?, ?> event = (Map<?, ?>) o;
        event(event);
        Map<?, ?> before = known.putIfAbsent((Long) event.get("seq"), event);
        check(before == null || before.equals(event), "event %s was %s", event, before);
      }
      return 200;
    } catch (IOException | RuntimeException | AssertionError wrong) {
      faults.add(run + ": " + wrong);
      return 400;
    }
  }

  private static void event(Map<?, ?> e) {
    long seq = (Long) e.get("seq");
    check(seq >= 1 && seq < 1 << 20 && e.size() == 3, "event %s", e);
    Instant.parse((String) e.get("at"));
    if (e.get("progress") instanceof Map<?, ?> p) {
      long percent = (Long) p.get("percent");
      check(percent >= 0 && percent <= 100 && bytes(p.get("message")) <= 500, "progress %s", p);
    } else if (e.get("log") instanceof Map<?, ?> l) {
      check((Long) l.get("offset") >= 0 && bytes(l.get("text")) > 0, "log %s", l);
    } else if (e.get("result") instanceof Map<?, ?> r) {
      check(List.of("succeeded", "failed").contains(r.get("state")) && bytes(r.get("reason")) <= 500, "result %s", r);
    } else {
      check(false, "event %s", e);
    }
  }

  private static int bytes(Object text) {
    return text == null ? 0 : ((String) text).getBytes(StandardCharsets.UTF_8).length;
  }

  /** Returns the events of one kind that a run's first attempt has told, by number. */
  synchronized List<Map<?, ?>> told(String run, String kind) {
    List<Map<?, ?>> told = new ArrayList<>();
    for (Map<?, ?> e : events.getOrDefault(run + "/1", new TreeMap<>()).values()) {
      if (e.get(kind) instanceof Map<?, ?> what) {
        told.add(what);
      }
    }
    return told;
  }

  synchronized int events(String run) {
    return events.getOrDefault(run + "/1", new TreeMap<>()).size();
  }

  synchronized int requests() {
    return requests;
  }

  /** Waits for the result of a run's first attempt, of which there must be one alone. */
  Map<?, ?> result(String run) throws Exception {
    until("a result of " + run + "; " + this, () -> !told(run, "result").isEmpty());
    check(told(run, "result").size() == 1, "results %s", told(run, "result"));
    return told(run, "result").get(0);
  }

  /** Says what the callee has done against the protocol. */
  @Override
  public synchronized String toString() {
    return requests + " requests, " + events.size() + " attempts, faults " + faults;
  }

  /** Ends the servers; a callee that broke the protocol fails the test. */
  @Override
  public void close() {
    servers.forEach(Server::down);
    threads.shutdownNow();
    synchronized (this) {
      check(faults.isEmpty(), "%s", faults);
    }
  }
}
