package crony.callee;

import static crony.callee.Tests.check;
import static crony.callee.Tests.same;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

final class OutboxTest {
  private static final Instant NOW = Instant.parse("2027-03-01T04:00:00Z");

  private OutboxTest() {}

  private static Outbox outbox(AtomicLong held, long most) {
    return new Outbox(1, held, most);
  }

  private static List<Map<?, ?>> events(Outbox.Batch batch) throws Exception {
    List<Map<?, ?>> events = new ArrayList<>();
    for (Object e : (List<?>) ((Map<?, ?>) JsonReader.read(batch.body)).get("events")) {
      events.add((Map<?, ?>) e);
    }
    return events;
  }

  static void aReportLooksLikeThis() {
    Outbox o = outbox(new AtomicLong(), 1 << 20);
    o.progress(1, "begun", NOW);
    o.progress(40, "half", NOW.plusNanos(500_000_000));
    o.log("eins\n", NOW);
    o.log("夜\n", NOW);
    o.result(true, "", "{\"rows\":12}", NOW);
    o.log("too late\n", NOW);
    same(o.next(1000, 1 << 20).body, "{\"attempt\":1,\"events\":["
        + "{\"seq\":1,\"at\":\"2027-03-01T04:00:00.500Z\",\"progress\":{\"percent\":40,\"message\":\"half\"}},"
        + "{\"seq\":2,\"at\":\"2027-03-01T04:00:00Z\",\"log\":{\"offset\":0,\"text\":\"eins\\n夜\\n\"}},"
        + "{\"seq\":3,\"at\":\"2027-03-01T04:00:00Z\",\"result\":{\"state\":\"succeeded\",\"data\":{\"rows\":12}}}]}");
  }

  static void whatWasSentOnceIsNeverChanged() throws Exception {
    Outbox o = outbox(new AtomicLong(), 1 << 20);
    o.log("a\n", NOW);
    String first = o.next(1000, 1 << 20).body;
    o.log("b\n", NOW);
    Outbox.Batch second = o.next(1000, 1 << 20);
    List<Map<?, ?>> events = events(second);
    same(events.size(), 2);
    check(second.body.startsWith(first.substring(0, first.length() - 2)), "%s was %s", second.body, first);
    same(events.get(1), Map.of("seq", 2L, "at", NOW.toString(), "log", Map.of("offset", 2L, "text", "b\n")));
    o.delivered(second);
    check(o.isEmpty() && o.next(1000, 1 << 20) == null, "something is left");
  }

  static void batchesAreBoundedAndAnEventIsAlwaysSent() throws Exception {
    Outbox o = outbox(new AtomicLong(), 1 << 22);
    Random random = new Random(4);
    StringBuilder all = new StringBuilder();
    for (int i = 0; i < 100; i++) {
      String text = JsonTest.text(random, 3000);
      all.append(text);
      o.log(text, NOW);
    }
    byte[] want = all.toString().getBytes(StandardCharsets.UTF_8);
    byte[] got = new byte[want.length];
    long seq = 0;
    int batches = 0;
    for (Outbox.Batch b = o.next(3, 60_000); b != null; b = o.next(3, 60_000)) {
      check(b.size() == 1 || b.body.getBytes(StandardCharsets.UTF_8).length < 61_000 && b.size() <= 3, "%d events", b.size());
      for (Map<?, ?> e : events(b)) {
        same(e.get("seq"), ++seq);
        Map<?, ?> log = (Map<?, ?>) e.get("log");
        byte[] text = ((String) log.get("text")).getBytes(StandardCharsets.UTF_8);
        System.arraycopy(text, 0, got, ((Long) log.get("offset")).intValue(), text.length);
      }
      o.delivered(b);
      batches++;
    }
    same(got, want);
    check(batches > 5, "%d batches", batches);
  }

  static void whatWaitsIsBoundedAndTheNewestStays() throws Exception {
    AtomicLong held = new AtomicLong();
    Outbox o = outbox(held, 1 << 24);
    String line = "x".repeat(99) + "\n";
    for (int i = 0; i < 20_000; i++) {
      o.log(line, NOW);
      o.progress(i % 101, "step " + i, NOW);
    }
    o.result(false, "r".repeat(1000), null, NOW);
    check(held.get() < Outbox.MOST_LOG + (64 << 10), "%d bytes are held", held.get());
    check(o.dropped() > 900_000, "%d bytes were dropped", o.dropped());
    List<Map<?, ?>> events = events(o.next(1000, 1 << 24));
    long end = 0;
    for (Map<?, ?> e : events) {
      if (e.get("log") instanceof Map<?, ?> log) {
        check(end == 0 || end == (Long) log.get("offset"), "a second gap, at %d", end);
        end = (Long) log.get("offset") + ((String) log.get("text")).length();
      }
    }
    same(end, 2_000_000L);
    same(((Map<?, ?>) events.get(events.size() - 2).get("progress")).get("message"), "step 19999");
    String reason = (String) ((Map<?, ?>) events.get(events.size() - 1).get("result")).get("reason");
    check(reason.getBytes(StandardCharsets.UTF_8).length <= 500 && reason.endsWith("r…"), "%s", reason);
    check(o.close() == events.size() && held.get() == 0, "%d bytes are held", held.get());
  }

  static void outboxesShareABound() {
    AtomicLong held = new AtomicLong();
    List<Outbox> all = new ArrayList<>();
    for (int i = 0; i < 10; i++) {
      Outbox o = outbox(held, 1 << 20);
      o.log("x".repeat(500_000), NOW);
      o.result(true, "", "1", NOW);
      all.add(o);
    }
    check(held.get() < (1 << 20) + 10 * (33 << 10), "%d bytes are held", held.get());
    for (Outbox o : all) {
      check(o.next(1000, 1 << 20).body.contains("\"succeeded\""), "a result was dropped");
      o.close();
    }
    same(held.get(), 0L);
  }

  static void theLastNumberIsTheResults() throws Exception {
    int last = 5000;
    Outbox o = new Outbox(1, new AtomicLong(), 1 << 20, last);
    for (int i = 0; i < last + 10; i++) {
      o.progress(1, "", NOW);
      Outbox.Batch b = o.next(1000, 1 << 20);
      check((b == null) == (i >= last - 1), "batch %d", i);
      if (b != null) {
        o.delivered(b);
      }
    }
    o.result(true, "", null, NOW);
    same(events(o.next(1000, 1 << 20)).get(0).get("seq"), (long) last);
  }
}
