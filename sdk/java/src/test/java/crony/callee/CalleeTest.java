package crony.callee;

import static crony.callee.Tests.check;
import static crony.callee.Tests.fails;
import static crony.callee.Tests.logged;
import static crony.callee.Tests.same;
import static crony.callee.Tests.until;

import com.sun.net.httpserver.HttpServer;
import crony.callee.FakeCluster.Fault;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;

/** What a service sees of its callee. */
final class CalleeTest {
  private static final byte[] NOTHING = new byte[0];

  private CalleeTest() {}

  private static Callee callee() {
    return DeliveryTest.callee(DeliveryTest.FAST);
  }

  static void aCallByHttpIsAcceptedAndTold() throws Exception {
    HttpServer http = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = callee()) {
      http.createContext("/import", callee.handler(run -> {
        run.log(run.toString());
        return Map.of("body", new String(run.body(), StandardCharsets.UTF_8), "job", run.job(), "attempt", run.attempt(),
            "scheduled_at", run.scheduledAt(), "deadline", run.deadline(), "epoch", run.epoch().getAsLong(), "id", run.id());
      }));
      http.start();
      URI uri = URI.create("http://127.0.0.1:" + http.getAddress().getPort() + "/import");
      HttpRequest.Builder call = HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofString("夜"));
      cluster.headers("r").forEach(call::header);
      HttpResponse<String> r = HttpClient.newHttpClient().send(call.build(), HttpResponse.BodyHandlers.ofString());
      same(r.statusCode() + " " + r.body(), "202 accepted\n");
      same(cluster.result("r").get("data"), Map.of("body", "夜", "job", "import", "attempt", 1L, "scheduled_at",
          "2027-03-01T04:00:00Z", "deadline", "2027-03-01T05:00:00Z", "epoch", 77L, "id", "r"));
      same(cluster.told("r", "log").get(0).get("text"), "job import, run r, attempt 1\n");

      HttpRequest stranger = HttpRequest.newBuilder(uri).build();
      r = HttpClient.newHttpClient().send(stranger, HttpResponse.BodyHandlers.ofString());
      check(r.statusCode() == 400 && r.body().startsWith("Crony-Token: missing"), "%s %s", r.statusCode(), r.body());
    } finally {
      http.stop(0);
    }
  }

  static void aRepeatedCallDoesNothingMore() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = callee()) {
      AtomicInteger times = new AtomicInteger();
      CountDownLatch repeated = new CountDownLatch(1);
      Work work = run -> {
        times.incrementAndGet();
        repeated.await();
        return run.attempt();
      };
      same(callee.accept(cluster.call("r"), NOTHING, work), new Answer(202, "accepted"));
      same(callee.accept(cluster.call("r"), NOTHING, work), new Answer(202, "accepted before"));
      repeated.countDown();
      same(cluster.result("r"), Map.of("state", "succeeded", "data", 1L));
      until("the end; " + cluster, () -> callee.running() == 0 && callee.undelivered() == 0);
      same(callee.accept(cluster.call("r"), NOTHING, work), new Answer(202, "accepted before"));
      same(times.get(), 1);
      same(callee.accept(cluster.call("r", "Crony-Attempt", "2"), NOTHING, work), new Answer(202, "accepted"));
      until("the second attempt", () -> times.get() == 2 && callee.running() == 0);
    }
  }

  static void whatTheWorkThrowsIsTheReason() throws Exception {
    Object[][] cases = {
        {"a", new IOException("no file orders.csv"), "IOException: no file orders.csv"},
        {"b", new IllegalStateException(), "IllegalStateException"},
        {"c", new StackOverflowError(), "StackOverflowError"},
        {"d", new Exception("ä".repeat(400)), "Exception: " + "ä".repeat(243) + "…"},
    };
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = callee()) {
      for (Object[] c : cases) {
        String run = (String) c[0];
        callee.accept(cluster.call(run), NOTHING, r -> {
          if (c[1] instanceof Error e) {
            throw e;
          }
          throw (Exception) c[1];
        });
        same(cluster.result(run), Map.of("state", "failed", "reason", c[2]));
      }
    }
  }

  static void aResultThatCannotBeToldFails() throws Exception {
    Object[][] cases = {{"a", Double.NaN, "it holds NaN"}, {"b", "x".repeat(50_000), "more than 49152 characters"},
        {"c", "ä".repeat(40_000), "more than 49152 bytes"}, {"d", new Object(), "java.lang.Object"}};
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = callee()) {
      for (Object[] c : cases) {
        callee.accept(cluster.call((String) c[0]), NOTHING, r -> c[1]);
        Map<?, ?> result = cluster.result((String) c[0]);
        check(result.get("state").equals("failed") && ((String) result.get("reason")).contains((String) c[2]), "%s", result);
      }
      callee.accept(cluster.call("e"), NOTHING, r -> "x".repeat((48 << 10) - 2));
      same(cluster.result("e").get("state"), "succeeded");
    }
  }

  static void theDeadlineInterruptsTheWork() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = callee()) {
      Work waits = r -> {
        new CountDownLatch(1).await();
        return null;
      };
      callee.accept(cluster.call("a", "Crony-Timeout", "1"), NOTHING, waits);
      callee.accept(cluster.call("b", "Crony-Timeout", null, "Crony-Deadline", Instant.now().plusMillis(300).toString()),
          NOTHING, waits);
      callee.accept(cluster.call("c", "Crony-Timeout", "1"), NOTHING, r -> {
        asks(r);
        return null;
      });
      same(cluster.result("a"), Map.of("state", "failed",
          "reason", "the deadline has passed; the work ended with InterruptedException"));
      same(cluster.result("b").get("state"), "failed");
      same(cluster.result("c"), Map.of("state", "failed", "reason", "the deadline has passed"));
    }
  }

  /** Work that takes no notice of interrupts, and asks whether it is to stop. */
  private static void asks(Run run) {
    while (run.stopped().isEmpty()) {
      LockSupport.parkNanos(1_000_000);
      Thread.interrupted();
    }
  }

  static void anInterruptDoesNotReachTheNextRun() throws Exception {
    Pace silent = new Pace(DeliveryTest.FAST.gather(), DeliveryTest.FAST.first(), DeliveryTest.FAST.longest(),
        Duration.ofHours(1), Duration.ofHours(1), DeliveryTest.FAST.grace(), DeliveryTest.FAST.answer());
    try (FakeCluster cluster = new FakeCluster(1); Callee callee = DeliveryTest.callee(silent)) {
      AtomicReference<Thread> first = new AtomicReference<>();
      FakeCluster.Server server = cluster.servers.get(0);
      server.down();
      server.next(Fault.stop("enough")); // for the first, whose work has ended by then
      callee.accept(cluster.call("first"), NOTHING, r -> {
        first.set(Thread.currentThread());
        return null;
      });
      until("its thread has nothing to do", () -> callee.running() == 0 && first.get().getState() == Thread.State.TIMED_WAITING);
      callee.accept(cluster.call("second"), NOTHING, r -> {
        same(Thread.currentThread(), first.get());
        server.up();
        until("the stop", () -> callee.undelivered() == 1);
        return Thread.currentThread().isInterrupted();
      });
      same(cluster.result("second"), Map.of("state", "succeeded", "data", false));
    }
  }

  static void noMoreRunThanMay() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1);
        Callee callee = Callee.builder().maxRuns(2).pace(DeliveryTest.FAST).closeWithin(Duration.ZERO).build()) {
      CountDownLatch end = new CountDownLatch(1);
      Work waits = r -> {
        end.await();
        return null;
      };
      same(callee.accept(cluster.call("a"), NOTHING, waits).status(), 202);
      same(callee.accept(cluster.call("b"), NOTHING, waits).status(), 202);
      same(callee.accept(cluster.call("c"), NOTHING, waits), new Answer(503, "busy: 2 runs go on here, and no more may"));
      same(callee.accept(cluster.call("a"), NOTHING, waits).status(), 202);
      end.countDown();
      until("room", () -> callee.running() == 0);
      same(callee.accept(cluster.call("c"), NOTHING, waits).status(), 202);
      same(cluster.result("c").get("state"), "succeeded");
    }
  }

  static void noCallIsTakenWhileTooMuchWaits() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1);
        Callee callee = Callee.builder().maxHeld(1).pace(DeliveryTest.FAST).closeWithin(Duration.ZERO).build()) {
      cluster.servers.get(0).down();
      same(callee.accept(cluster.call("a"), NOTHING, r -> 1).status(), 202);
      until("its end", () -> callee.running() == 0);
      same(callee.accept(cluster.call("b"), NOTHING, r -> 1).message(),
          "busy: too much waits for crony's servers, which take nothing");
      cluster.servers.get(0).up();
      cluster.result("a");
      until("room", () -> callee.accept(cluster.call("b"), NOTHING, r -> 1).status() == 202);
      cluster.result("b");
    }
  }

  static void aThousandRunsAtOnce() throws Exception {
    int n = 1000;
    Pace pace = new Pace(DeliveryTest.FAST.gather(), DeliveryTest.FAST.first(), DeliveryTest.FAST.longest(),
        Duration.ofSeconds(10), Duration.ofHours(1), DeliveryTest.FAST.grace(), DeliveryTest.FAST.answer());
    try (FakeCluster cluster = new FakeCluster(3); Callee callee = DeliveryTest.callee(pace)) {
      for (FakeCluster.Server s : cluster.servers) {
        for (int i = 0; i < 100; i++) {
          s.next(Fault.LOSES_ANSWER, Fault.NONE, Fault.status(503), Fault.NONE, Fault.NONE);
        }
      }
      CountDownLatch all = new CountDownLatch(n);
      for (int i = 0; i < n; i++) {
        int number = i;
        Answer a = callee.accept(cluster.call("r" + i), NOTHING, r -> {
          r.progress(50, "waits for the others");
          all.countDown();
          all.await(); // so a thousand go on at once
          r.log("I am " + number);
          return number;
        });
        same(a.status(), 202);
      }
      for (int i = 0; i < n; i++) {
        same(cluster.result("r" + i), Map.of("state", "succeeded", "data", (long) i));
        same(cluster.told("r" + i, "log"), List.of(Map.of("offset", 0L, "text", "I am " + i + "\n")));
      }
      until("room", () -> callee.running() == 0);
      check(cluster.requests() < 20 * n, "%s", cluster);
    }
  }

  static void closeDeliversWhatIsLeft() throws Exception {
    try (FakeCluster cluster = new FakeCluster(2)) {
      Pace slow = new Pace(Duration.ofHours(1), Duration.ofHours(1), Duration.ofHours(1), Duration.ofHours(1),
          Duration.ofHours(1), Duration.ofSeconds(20), Duration.ofSeconds(60));
      Callee callee = Callee.builder().pace(slow).closeWithin(Duration.ofSeconds(60)).build();
      CountDownLatch begun = new CountDownLatch(1);
      cluster.servers.forEach(s -> s.next(Fault.status(503), Fault.status(503), Fault.status(503), Fault.LOSES_ANSWER));
      callee.accept(cluster.call("r"), NOTHING, r -> {
        r.log("begun");
        begun.countDown();
        AtomicInteger others = new AtomicInteger(); // a call that was taken is taken again
        until("no more taken",
            () -> callee.accept(cluster.call("s" + others.getAndIncrement()), NOTHING, x -> null).status() == 503);
        return "done";
      });
      begun.await();
      callee.close();
      same(cluster.result("r"), Map.of("state", "succeeded", "data", "done"));
      same(cluster.told("r", "log").size(), 1);
      callee.close(); // once more does nothing
    }
  }

  static void closeEndsAPause() throws Exception {
    Duration never = Duration.ofHours(1);
    Pace slow = new Pace(never, never, never, never, never, DeliveryTest.FAST.grace(), DeliveryTest.FAST.answer());
    try (FakeCluster cluster = new FakeCluster(1)) {
      Callee callee = Callee.builder().pace(slow).closeWithin(Duration.ofSeconds(60)).build();
      cluster.servers.get(0).always(Fault.status(503));
      callee.accept(cluster.call("r"), NOTHING, r -> 1);
      until("a try", () -> cluster.requests() == 1);
      cluster.servers.get(0).always(Fault.NONE);
      callee.close();
      same(cluster.result("r").get("data"), 1L);
    }
  }

  static void closeEndsWorkThatGoesOn() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1)) {
      Callee callee = Callee.builder().pace(DeliveryTest.FAST).closeWithin(Duration.ofSeconds(2)).build();
      callee.accept(cluster.call("r"), NOTHING, r -> {
        new CountDownLatch(1).await();
        return null;
      });
      callee.close();
      same(cluster.result("r"), Map.of("state", "failed",
          "reason", "the service went down before the work was done; the work ended with InterruptedException"));
    }
  }

  static void closeIsBounded() throws Exception {
    try (FakeCluster cluster = new FakeCluster(1)) {
      cluster.servers.get(0).always(Fault.HANGS);
      Callee callee = Callee.builder().pace(DeliveryTest.FAST).closeWithin(Duration.ofMillis(500)).build();
      callee.accept(cluster.call("a"), NOTHING, r -> 1);
      CountDownLatch never = new CountDownLatch(1);
      callee.accept(cluster.call("b"), NOTHING, r -> {
        while (true) {
          try {
            never.await();
            return null;
          } catch (InterruptedException e) { // work that does not end
          }
        }
      });
      callee.close();
      check(logged().contains("run a, attempt 1: given up: the service went down"), "%s", logged());
      check(logged().contains("run b, attempt 1: given up: the service went down"), "%s", logged());
      never.countDown();
      until("its end", () -> callee.running() == 0);
    }
  }

  static void badSettingsAreRefused() throws Exception {
    Callee.Builder b = Callee.builder();
    fails(IllegalArgumentException.class, () -> b.maxRuns(0));
    fails(IllegalArgumentException.class, () -> b.maxHeld(0));
    fails(IllegalArgumentException.class, () -> b.servers("crony.example.org"));
    fails(IllegalArgumentException.class, () -> b.closeWithin(Duration.ofSeconds(-1)));
    java.nio.file.Path empty = java.nio.file.Files.createTempFile("crony-callee", ".pem");
    try {
      check(fails(IOException.class, () -> b.trust(empty)).getMessage().contains("holds no certificates"), "%s", empty);
      java.nio.file.Files.writeString(empty, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
      check(fails(IOException.class, () -> b.trust(empty)).getMessage().contains("holds no certificates"), "%s", empty);
    } finally {
      java.nio.file.Files.delete(empty);
    }
  }
}
