package crony.callee;

import static crony.callee.Tests.check;
import static crony.callee.Tests.logged;
import static crony.callee.Tests.same;
import static crony.callee.Tests.until;

import crony.callee.FakeCluster.Fault;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** What reaches the servers, whatever they do. */
final class DeliveryTest {
  static final Pace FAST = new Pace(Duration.ofMillis(5), Duration.ofMillis(5), Duration.ofMillis(40), Duration.ofMillis(20),
      Duration.ofHours(1), Duration.ofSeconds(20), Duration.ofSeconds(60));

  private DeliveryTest() {}

  static Callee callee(Pace pace) {
    return Callee.builder().maxRuns(1000).pace(pace).closeWithin(Duration.ZERO).build();
  }

  /** Starts work that tells one of each kind. */
  private static void start(Callee callee, FakeCluster cluster, String run) {
    Answer a = callee.accept(cluster.call(run), new byte[0], r -> {
      r.progress(40, "half");
      r.log("a line");
      return Map.of("rows", 12);
    });
    same(a, new Answer(202, "accepted"));
  }

  private static void arrives(FakeCluster cluster, String run) throws Exception {
    same(cluster.result(run), Map.of("state", "succeeded", "data", Map.of("rows", 12L)));
    same(cluster.told(run, "log"), List.of(Map.of("offset", 0L, "text", "a line\n")));
    same(cluster.told(run, "progress"), List.of(Map.of("percent", 40L, "message", "half")));
  }

  static void aLostReplyIsToldAgainAndCountsOnce() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2); Callee callee = callee(FAST)) {
      cluster.servers.get(0).next(Fault.LOSES_ANSWER, Fault.LOSES_ANSWER);
      cluster.servers.get(1).next(Fault.LOSES_ANSWER);
      start(callee, cluster, "r");
      arrives(cluster, "r");
      until("the fourth request; " + cluster, () -> cluster.requests() >= 4);
    }
  }

  static void aServerThatIsDownIsPassedBy() throws Exception {
    try (FakeCluster cluster = new FakeCluster(3); Callee callee = callee(FAST)) {
      cluster.servers.get(0).down();
      cluster.servers.get(1).down();
      start(callee, cluster, "r");
      arrives(cluster, "r");
    }
  }

  static void allServersAreDownAndComeUp() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2); Callee callee = callee(FAST)) {
      for (FakeCluster.Server s : cluster.servers) {
        s.down();
      }
      start(callee, cluster, "r");
      until("a try", () -> logged().contains("does not answer"));
      cluster.servers.get(1).up();
      arrives(cluster, "r");
    }
  }

  static void theServerThatWasGoodLastIsAskedFirst() throws Exception {
    try (FakeCluster cluster = new FakeCluster(3);
        Callee callee = callee(new Pace(FAST.gather(), FAST.first(), FAST.longest(), Duration.ofHours(1), FAST.after(),
            FAST.grace(), FAST.answer()))) {
      cluster.servers.get(0).always(Fault.status(503));
      cluster.servers.get(1).always(Fault.status(503));
      for (int i = 0; i < 10; i++) {
        callee.accept(cluster.call("r" + i), new byte[0], r -> null);
        cluster.result("r" + i);
        until("its delivery", () -> callee.undelivered() == 0);
      }
      same(cluster.requests(), 12);
    }
  }

  static void aLongLogAndTheResultWaitForNothing() throws Exception {
    Duration never = Duration.ofHours(1);
    try (FakeCluster cluster = new FakeCluster(1);
        Callee callee = callee(new Pace(never, FAST.first(), FAST.longest(), never, never, FAST.grace(), FAST.answer()))) {
      callee.accept(cluster.call("r"), new byte[0], r -> {
        r.log("x".repeat(900_000));
        return null;
      });
      same(cluster.result("r").get("state"), "succeeded");
      check(cluster.requests() >= 2, "%s", cluster);
    }
  }

  static void aServerThatHangsIsLeft() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2);
        Callee callee = callee(new Pace(FAST.gather(), FAST.first(), FAST.longest(), FAST.ask(), FAST.after(), FAST.grace(),
            Duration.ofMillis(300)))) {
      cluster.servers.get(0).always(Fault.HANGS);
      start(callee, cluster, "r");
      arrives(cluster, "r");
    }
  }

  static void whatIsNoReceiptIsNotTakenForOne() throws Exception {
    for (Fault f : List.of(Fault.PROXY_PAGE, Fault.ENDLESS, Fault.status(429), Fault.status(503), Fault.status(500),
        Fault.status(204), Fault.status(302), Fault.status(403), Fault.status(407))) {
      try (FakeCluster cluster = new FakeCluster(2); Callee callee = callee(FAST)) {
        cluster.servers.get(0).next(f, f);
        cluster.servers.get(1).next(f, f);
        start(callee, cluster, "r");
        arrives(cluster, "r");
      }
    }
  }

  static void aRunThatIsNotKnownYetIsToldAgain() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2); Callee callee = callee(FAST)) {
      for (FakeCluster.Server s : cluster.servers) {
        s.next(Fault.status(404), Fault.status(404), Fault.status(404));
      }
      start(callee, cluster, "r");
      arrives(cluster, "r");
      check(cluster.requests() > 6, "%s", cluster);
    }
  }

  static void whatNoServerTakesIsGivenUpAtTheDeadline() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2);
        Callee callee = callee(new Pace(FAST.gather(), FAST.first(), FAST.longest(), FAST.ask(), Duration.ofMillis(50),
            Duration.ofMillis(50), FAST.answer()))) {
      cluster.servers.get(0).always(Fault.status(404));
      cluster.servers.get(1).down();
      String given = ", attempt 1: given up: no server has taken its reports in time";
      callee.accept(cluster.call("r", "Crony-Timeout", "1"), new byte[0], r -> 1);
      callee.accept(cluster.call("s", "Crony-Timeout", null, "Crony-Deadline", null), new byte[0], r -> 1);
      until("the end of r", () -> logged().contains("run r" + given));
      until("the end of s", () -> logged().contains("run s" + given));
      same(cluster.events("r") + cluster.events("s"), 0);
    }
  }

  /** Starts work that says nothing and waits for ever, and waits until it is interrupted for a reason. */
  private static void interrupted(Callee callee, FakeCluster cluster, String reason) throws Exception {
    AtomicBoolean was = new AtomicBoolean();
    callee.accept(cluster.call("r"), new byte[0], r -> {
      try {
        new CountDownLatch(1).await();
      } catch (InterruptedException e) {
        same(r.stopped().orElse("none"), reason);
        was.set(true);
        throw e;
      }
      return null;
    });
    until("an end of the work; " + logged(), () -> callee.running() == 0);
    check(was.get(), "the work was not interrupted by %s: %s", reason, logged());
  }

  static void aRefusedTokenEndsTheWork() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2); Callee callee = callee(FAST)) {
      cluster.servers.forEach(s -> s.always(Fault.status(401)));
      interrupted(callee, cluster, "the servers refuse its token");
      same(cluster.requests(), 2);
    }
  }

  static void aServerThatIsBehindMayRefuseTheToken() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2); Callee callee = callee(FAST)) {
      cluster.servers.get(0).always(Fault.status(401));
      start(callee, cluster, "r");
      arrives(cluster, "r");
    }
  }

  static void aReportThatIsWrongIsGivenUp() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2); Callee callee = callee(FAST)) {
      cluster.servers.get(0).always(Fault.status(400));
      interrupted(callee, cluster, "a server refuses its report as wrong");
      same(cluster.requests(), 1);
      check(logged().contains("WARNING job import, run r, attempt 1: given up: a server refuses"), "%s", logged());
    }
  }

  static void stopEndsWorkThatSaysNothing() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = callee(FAST)) {
      cluster.servers.get(0).next(Fault.NONE, Fault.NONE, Fault.stop("killed by ann"));
      interrupted(callee, cluster, "killed by ann");
      same(cluster.told("r", "progress"), List.of(Map.of("percent", 0L))); // told three times, as one event
      same(cluster.requests(), 3);
      same(cluster.told("r", "result"), List.of());
    }
  }

  static void aReportThatIsTooLargeIsMadeSmaller() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = callee(FAST)) {
      FakeCluster.Server s = cluster.servers.get(0);
      s.next(Fault.status(413), Fault.status(413), Fault.status(413));
      start(callee, cluster, "r"); // three events in one report, then one, which is dropped, and then the next
      same(cluster.result("r"), Map.of("state", "succeeded", "data", Map.of("rows", 12L)));
    }
  }

  static void logArrivesByteForByte() throws Exception {
    try (FakeCluster cluster = new FakeCluster(3); Callee callee = callee(FAST)) {
      for (FakeCluster.Server s : cluster.servers) {
        s.next(Fault.LOSES_ANSWER, Fault.status(503), Fault.LOSES_ANSWER, Fault.NONE, Fault.PROXY_PAGE, Fault.LOSES_ANSWER);
      }
      StringBuilder all = new StringBuilder();
      callee.accept(cluster.call("r"), new byte[0], r -> {
        Random random = new Random(5);
        for (int i = 0; i < 2000; i++) {
          String text = JsonTest.text(random, 60);
          r.log(text);
          all.append(text).append(text.endsWith("\n") ? "" : "\n");
          if (i % 100 == 0) {
            int before = cluster.requests();
            until("a report", () -> cluster.requests() > before);
          }
        }
        r.log("half \ud83d of a pair");
        all.append("half \ufffd of a pair\n");
        return null;
      });
      same(cluster.result("r"), Map.of("state", "succeeded"));
      byte[] want = all.toString().getBytes(StandardCharsets.UTF_8);
      byte[] got = new byte[want.length];
      for (Map<?, ?> log : cluster.told("r", "log")) {
        byte[] text = ((String) log.get("text")).getBytes(StandardCharsets.UTF_8);
        System.arraycopy(text, 0, got, ((Long) log.get("offset")).intValue(), text.length);
      }
      check(Arrays.equals(got, want), "the log differs from byte %d on", Arrays.mismatch(got, want));
      check(cluster.told("r", "log").size() > 10, "%d events", cluster.told("r", "log").size());
    }
  }

  static void serversAreTrustedByTheirAuthority() throws Exception {
    Path dir = Files.createTempDirectory("crony-callee");
    Path keys = dir.resolve("keys.p12");
    Path pem = dir.resolve("ca.pem");
    try {
      SSLContext tls = certificate(keys, pem);
      try (FakeCluster cluster = new FakeCluster(tls);
          Callee trusting = Callee.builder().trust(pem).pace(FAST).closeWithin(Duration.ZERO).build();
          Callee other = callee(FAST)) {
        start(trusting, cluster, "r");
        arrives(cluster, "r");
        start(other, cluster, "s");
        until("a refusal; " + logged(), () -> logged().contains("PKIX path building failed"));
        same(cluster.events("s"), 0);
      }
    } finally {
      Files.deleteIfExists(keys);
      Files.deleteIfExists(pem);
      Files.delete(dir);
    }
  }

  private static SSLContext certificate(Path keys, Path pem) throws Exception {
    Process keytool = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "keytool").toString(), "-genkeypair",
        "-keystore", keys.toString(), "-storepass", "changeit", "-keyalg", "EC", "-groupname", "secp256r1", "-alias", "server",
        "-dname", "CN=server", "-ext", "san=ip:127.0.0.1")
        .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    same(keytool.waitFor(), 0);
    KeyStore store = KeyStore.getInstance(keys.toFile(), "changeit".toCharArray());
    try (OutputStream out = new FileOutputStream(pem.toFile())) {
      String text = Base64.getMimeEncoder().encodeToString(store.getCertificate("server").getEncoded());
      out.write(("-----BEGIN CERTIFICATE-----\n" + text + "\n-----END CERTIFICATE-----\n").getBytes(StandardCharsets.US_ASCII));
    }
    KeyManagerFactory own = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    own.init(store, "changeit".toCharArray());
    SSLContext tls = SSLContext.getInstance("TLS");
    tls.init(own.getKeyManagers(), null, null);
    return tls;
  }
}
