package crony.callee;

import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What an attempt has told and no server has yet. It takes anything at once and is bounded: of progress it keeps the newest,
 * and of log, when there is too much, the newest too; the result always.
 *
 * <p>The one thing to know: an event is numbered when it is sent first, and from then on it is never changed, as a server may
 * have it although no answer came. Until then log grows in its last event, so that a line is not an event.
 */
final class Outbox {
  static final int MOST_TEXT = 500; // bytes of a message and of a reason: the servers' bound, as are the next two
  static final int MOST_DATA = 48 << 10;
  private static final int LAST_SEQ = (1 << 20) - 1;
  static final int MOST_LOG = 1 << 20; // bytes that one attempt keeps
  private static final int LOG_PIECE = 32 << 10; // bytes of an event's text
  private static final int OVERHEAD = 200; // bytes that an event takes beside its text, roughly

  /** One thing that was told. Guarded by the outbox. */
  private static final class Event {
    final Instant at;
    final long offset; // of log
    final StringBuilder text; // log; else null
    final String body; // what is not log
    long seq; // 0: not sent yet
    int bytes;

    Event(Instant at, long offset, StringBuilder text, String body) {
      this.at = at;
      this.offset = offset;
      this.text = text;
      this.body = body;
      this.bytes = OVERHEAD + Text.bytes(text == null ? body : text);
    }

    String json() {
      String what = body != null ? body : "\"log\":{\"offset\":" + offset + ",\"text\":" + Json.quote(text.toString()) + "}";
      return "{\"seq\":" + seq + ",\"at\":\"" + at + "\"," + what + "}";
    }
  }

  /** What is sent at once: the request's body, and the events in it. */
  static final class Batch {
    final String body;
    private final List<Event> events;

    private Batch(String body, List<Event> events) {
      this.body = body;
      this.events = events;
    }

    int size() {
      return events.size();
    }
  }

  private final int attempt;
  private final AtomicLong held; // bytes, of all outboxes of the callee
  private final long most; // for held
  private final int lastSeq;
  private final Set<Event> events = new LinkedHashSet<>(); // those that have a number come first
  private Event progress; // the last that was told, delivered or not
  private Event tail; // the last log event
  private Event result;
  private long seq; // the last that was given
  private long logged; // bytes of all log, dropped or not
  private long dropped;
  private long bytes;
  private boolean closed;

  Outbox(int attempt, AtomicLong held, long most) {
    this(attempt, held, most, LAST_SEQ);
  }

  Outbox(int attempt, AtomicLong held, long most, int lastSeq) {
    this.attempt = attempt;
    this.held = held;
    this.most = most;
    this.lastSeq = lastSeq;
  }

  synchronized void progress(int percent, String message, Instant now) {
    if (closed) {
      return;
    }
    if (progress != null) {
      remove(progress);
    }
    String body = "\"progress\":{\"percent\":" + percent
        + (message.isEmpty() ? "" : ",\"message\":" + Json.quote(Text.cut(message, MOST_TEXT))) + "}";
    progress = add(new Event(now, 0, null, body));
  }

  synchronized void log(String text, Instant now) {
    if (closed) {
      return;
    }
    String whole = Text.wellFormed(text);
    for (int from = 0; from < whole.length(); ) {
      int room = tail == null || tail.seq > 0 || !events.contains(tail) ? 0 : LOG_PIECE - (tail.bytes - OVERHEAD);
      if (room < 4) {
        tail = new Event(now, logged, new StringBuilder(), null); // known before it is added, so that it is not dropped
        add(tail);
        room = LOG_PIECE;
      }
      int to = Text.end(whole, from, room);
      String piece = whole.substring(from, to);
      int n = Text.bytes(piece);
      tail.text.append(piece);
      tail.bytes += n;
      count(n);
      logged += n;
      from = to;
      trim();
    }
  }

  /** Takes the result; what is told after it goes nowhere. */
  synchronized void result(boolean succeeded, String reason, String data, Instant now) {
    if (closed) {
      return;
    }
    String body = "\"result\":{\"state\":\"" + (succeeded ? "succeeded" : "failed") + "\""
        + (reason.isEmpty() ? "" : ",\"reason\":" + Json.quote(Text.cut(reason, MOST_TEXT)))
        + (data == null ? "" : ",\"data\":" + data) + "}";
    result = add(new Event(now, 0, null, body));
    closed = true;
  }

  /** Returns the oldest events, as many as one report may have; null if there are none. */
  synchronized Batch next(int mostEvents, int mostBytes) {
    StringBuilder body = new StringBuilder();
    List<Event> batch = new ArrayList<>();
    long size = 0;
    for (Event e : List.copyOf(events)) {
      if (e.seq == 0 && e != result && seq >= lastSeq - 1) {
        remove(e); // no number is left but the result's
        continue;
      }
      if (e.seq == 0) {
        e.seq = ++seq;
      }
      String json = e.json();
      size += Text.bytes(json) + 1;
      if (!batch.isEmpty() && (batch.size() == mostEvents || size > mostBytes)) {
        break;
      }
      body.append(batch.isEmpty() ? "" : ",").append(json);
      batch.add(e);
    }
    return batch.isEmpty() ? null : report(body.toString(), batch);
  }

  /**
   * Returns something to say when there is nothing, as only the answer tells that the run is to stop: the last progress again,
   * which has no effect, or that there is none yet; null when no more is to be told.
   */
  synchronized Batch again(Instant now) {
    if (progress == null) {
      progress(0, "", now);
      return next(1, Integer.MAX_VALUE);
    }
    return closed || progress.seq == 0 ? null : report(progress.json(), List.of(progress));
  }

  private Batch report(String body, List<Event> batch) {
    return new Batch("{\"attempt\":" + attempt + ",\"events\":[" + body + "]}", batch);
  }

  /** Forgets what a server has. */
  synchronized void delivered(Batch batch) {
    batch.events.forEach(this::remove);
  }

  /** Drops the only event of a batch, which no server takes, unless it is the result. */
  synchronized boolean drop(Batch batch) {
    return batch.events.get(0) != result && remove(batch.events.get(0));
  }

  /** Forgets everything, and takes no more. */
  synchronized int close() {
    closed = true;
    int left = events.size();
    List.copyOf(events).forEach(this::remove);
    return left;
  }

  synchronized boolean isEmpty() {
    return events.isEmpty();
  }

  /** Says whether a result was taken. */
  synchronized boolean hasResult() {
    return result != null;
  }

  /** Returns how many bytes of log were dropped for want of room. */
  synchronized long dropped() {
    return dropped;
  }

  private Event add(Event e) {
    events.add(e);
    count(e.bytes);
    trim();
    return e;
  }

  private boolean remove(Event e) {
    if (!events.remove(e)) {
      return false;
    }
    count(-e.bytes);
    return true;
  }

  private void count(int n) {
    bytes += n;
    held.addAndGet(n);
  }

  private void trim() {
    while (bytes > MOST_LOG || held.get() > most) {
      Event oldest = null;
      for (Event e : events) { // at most the progress stands before it
        if (e.text != null && e != tail) {
          oldest = e;
          break;
        }
      }
      if (oldest == null) {
        return;
      }
      remove(oldest);
      dropped += oldest.bytes - OVERHEAD;
    }
  }
}
