package crony.callee;

import java.lang.System.Logger.Level;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.Future;

/** An attempt that was accepted: its work while it goes on, and its reports until they are delivered. */
final class Attempt implements Run {
  private final Callee callee;
  private final Call call;
  private final byte[] body;
  private final Outbox outbox;
  private final Courier courier;
  private final Pace pace;

  // Guarded by this.
  private String stop; // why the work is to end
  private Thread worker; // while the work goes on
  private Future<?> alarm; // at the deadline

  Attempt(Callee callee, Call call, byte[] body, Outbox outbox, Pace pace) {
    this.callee = callee;
    this.call = call;
    this.body = body;
    this.outbox = outbox;
    this.pace = pace;
    this.courier = callee.courier(this, outbox, call.budget(Instant.now()).orElse(null));
  }

  Call call() {
    return call;
  }

  /** Has the work end by a time to come; called before the work begins. */
  synchronized void alarm(Future<?> alarm) {
    this.alarm = alarm;
  }

  /** Does the work, on the thread that calls. */
  void work(Work work) {
    courier.within(pace.ask());
    Object data = null;
    Throwable failure = null;
    if (begin()) {
      try {
        data = work.run(this);
      } catch (Throwable e) { // an Error too: whoever waits for the result is to hear of it
        failure = e;
      }
    }
    String why = end();
    if (failure != null && why == null) {
      Callee.LOG.log(Level.WARNING, this + ": the work fails", failure);
    }
    try {
      result(data, failure, why);
    } finally {
      courier.within(Duration.ZERO);
    }
    if (call.budget(Instant.now()).isEmpty()) {
      courier.atMost(pace.after());
    }
  }

  private synchronized boolean begin() {
    worker = stop == null ? Thread.currentThread() : null;
    return worker != null;
  }

  /** Ends the work, or what would have been, and returns why it was to stop, if it was. */
  synchronized String end() {
    worker = null;
    Thread.interrupted(); // it was for the work
    if (alarm != null) {
      alarm.cancel(false);
    }
    return stop;
  }

  private void result(Object data, Throwable failure, String why) {
    Instant now = Instant.now();
    if (failure != null || why != null) { // who was to stop and just returned has not done the work, as far as can be known
      String ended = failure == null ? "" : reason(failure);
      String reason = why == null ? ended : ended.isEmpty() ? why : why + "; the work ended with " + ended;
      outbox.result(false, reason, null, now);
      return;
    }
    try {
      String json = data == null ? null : Json.write(data, Outbox.MOST_DATA);
      if (json != null && Text.bytes(json) > Outbox.MOST_DATA) {
        throw new IllegalArgumentException("its JSON has more than " + Outbox.MOST_DATA + " bytes");
      }
      outbox.result(true, "", json, now);
    } catch (RuntimeException | StackOverflowError e) {
      Callee.LOG.log(Level.WARNING, this + ": what the work gives back can't be told", e);
      outbox.result(false, "the work was done, but what it gives back can't be told: " + e.getMessage(), null, now);
    }
  }

  private static String reason(Throwable failure) {
    String message = failure.getMessage();
    String name = failure.getClass().getSimpleName();
    return message == null || message.isBlank() ? name : name + ": " + message;
  }

  /** Has the work end; what it tells is still delivered. */
  synchronized void interrupt(String reason) {
    if (stop == null) {
      stop = reason;
    }
    if (worker != null) {
      worker.interrupt();
    }
  }

  /** Ends work and delivery, as a server says so. */
  void stopped(String reason) {
    Callee.LOG.log(Level.DEBUG, () -> this + ": to stop: " + reason);
    finish(reason);
  }

  /** Ends work and delivery, as nobody can be told. */
  void abandon(String reason) {
    Callee.LOG.log(Level.WARNING, this + ": given up: " + reason);
    finish(reason);
  }

  /** Ends delivery, as all is delivered. */
  void delivered() {
    long dropped = outbox.dropped();
    if (dropped > 0) {
      Callee.LOG.log(Level.WARNING, this + ": " + dropped + " bytes of its log were dropped for want of room");
    }
    courier.close();
    callee.ended(this);
  }

  private void finish(String reason) {
    outbox.close();
    courier.close();
    interrupt(reason);
    callee.ended(this);
  }

  /** Has what is left delivered soon, or not at all. */
  void hurry(Duration within) {
    courier.hurry(within);
  }

  @Override
  public String id() {
    return call.run();
  }

  @Override
  public String job() {
    return call.job();
  }

  @Override
  public int attempt() {
    return call.attempt();
  }

  @Override
  public Optional<Instant> scheduledAt() {
    return call.scheduledAt();
  }

  @Override
  public Optional<Instant> deadline() {
    return call.deadline();
  }

  @Override
  public OptionalLong epoch() {
    return call.epoch();
  }

  @Override
  public byte[] body() {
    return body.clone();
  }

  @Override
  public void progress(int percent, String message) {
    outbox.progress(Math.max(0, Math.min(100, percent)), message == null ? "" : message, Instant.now());
    courier.within(pace.gather());
  }

  @Override
  public void log(String text) {
    String line = String.valueOf(text); // what is told in passing fails no work
    outbox.log(line.endsWith("\n") ? line : line + "\n", Instant.now());
    courier.within(pace.gather());
  }

  @Override
  public synchronized Optional<String> stopped() {
    return Optional.ofNullable(stop);
  }

  @Override
  public String toString() {
    return call.toString();
  }
}
