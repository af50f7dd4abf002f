package crony.callee;

import java.lang.System.Logger.Level;
import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * Delivers what one attempt tells: one report at a time, to whichever server takes it, until the result is delivered, a server
 * says to stop, or the time is over.
 */
final class Courier implements Runnable {
  private static final int MOST_EVENTS = 1000; // the servers' bound
  private static final int MOST_BYTES = 512 << 10; // half of the servers' bound
  private static final Duration HURRIED = Duration.ofMillis(100); // the longest pause when the callee closes
  private static final Duration FOREVER = Duration.ofDays(365L * 100);

  /** How a round over the servers has ended. */
  private enum Round { TAKEN, AGAIN, NOBODY, OVER }

  private final Attempt attempt;
  private final Outbox outbox;
  private final Servers servers;
  private final ScheduledExecutorService threads;
  private final Pace pace;

  // Guarded by this.
  private ScheduledFuture<?> next;
  private long due; // of next, by System.nanoTime
  private boolean busy; // a report is under way
  private boolean pausing; // next is the end of a pause, which nothing but a hurry shortens
  private boolean hurried;
  private boolean over;
  private long end; // by System.nanoTime: when delivery is given up

  // Of the one that delivers.
  private Duration pause = Duration.ZERO;
  private int mostEvents = MOST_EVENTS;

  Courier(Attempt attempt, Outbox outbox, Servers servers, ScheduledExecutorService threads, Pace pace, Duration budget) {
    this.attempt = attempt;
    this.outbox = outbox;
    this.servers = servers;
    this.threads = threads;
    this.pace = pace;
    this.end = System.nanoTime() + (budget == null ? FOREVER : budget.plus(pace.grace())).toNanos();
  }

  /** Has the attempt delivered within a time, unless it pauses because no server takes anything. */
  synchronized void within(Duration d) {
    if (busy || pausing || over || next != null && due - System.nanoTime() <= d.toNanos()) {
      return;
    }
    schedule(d);
  }

  /** Ends a pause, makes those that come short, and gives up after a time. */
  synchronized void hurry(Duration d) {
    hurried = true;
    end = Math.min(end - System.nanoTime(), d.toNanos()) + System.nanoTime();
    pausing = false;
    within(Duration.ZERO);
  }

  /** Bounds how long delivery is tried from now on. */
  synchronized void atMost(Duration d) {
    end = Math.min(end - System.nanoTime(), d.toNanos()) + System.nanoTime();
  }

  /** Ends delivery. */
  synchronized void close() {
    over = true;
    if (next != null) {
      next.cancel(false);
    }
  }

  private void schedule(Duration d) {
    if (next != null) {
      next.cancel(false);
    }
    due = System.nanoTime() + d.toNanos();
    try {
      next = threads.schedule(this, d.toNanos(), TimeUnit.NANOSECONDS);
    } catch (RejectedExecutionException e) {
      over = true; // the callee was closed
    }
  }

  /** Delivers one report and sees to the next. */
  @Override
  public void run() {
    synchronized (this) {
      if (busy || over) {
        return;
      }
      busy = true;
      pausing = false;
      next = null;
    }
    Round round;
    try {
      round = deliver();
    } catch (InterruptedException e) {
      round = Round.OVER; // the callee was closed
    } catch (RuntimeException | Error e) {
      Callee.LOG.log(Level.ERROR, attempt + ": delivery fails", e);
      round = Round.NOBODY;
    }
    boolean done = round == Round.TAKEN && outbox.hasResult() && outbox.isEmpty();
    if (done) {
      attempt.delivered();
    }
    synchronized (this) {
      busy = false;
      if (over || done || round == Round.OVER) {
        return;
      }
      if (round == Round.NOBODY) {
        pause = pause.isZero() ? pace.first() : min(pause.multipliedBy(2), pace.longest());
        Duration jittered = pause.multipliedBy(50 + ThreadLocalRandom.current().nextInt(51)).dividedBy(100);
        pausing = true;
        schedule(hurried ? min(jittered, HURRIED) : jittered);
        return;
      }
      pause = Duration.ZERO;
      boolean now = round == Round.AGAIN || outbox.hasResult();
      schedule(now ? Duration.ZERO : outbox.isEmpty() ? pace.ask() : pace.gather());
    }
  }

  private Round deliver() throws InterruptedException {
    Outbox.Batch batch = outbox.next(mostEvents, MOST_BYTES);
    if (batch == null) {
      batch = outbox.again(Instant.now());
    }
    if (batch == null) {
      return Round.TAKEN;
    }
    if (left() <= 0) {
      attempt.abandon("no server has taken its reports in time");
      return Round.OVER;
    }
    int refused = 0;
    for (URI server : servers.order(attempt.call().servers())) {
      Servers.Reply reply = servers.post(server, attempt.call(), batch.body);
      switch (reply.status()) {
        case 200:
          outbox.delivered(batch);
          if (!reply.stop().isEmpty()) {
            attempt.stopped(reply.stop());
            return Round.OVER;
          }
          return outbox.isEmpty() ? Round.TAKEN : Round.AGAIN;
        case 400:
          attempt.abandon("a server refuses its report as wrong");
          return Round.OVER;
        case 413:
          return smaller(batch);
        case 401: // asked of the others too: one that is behind may know of the attempt before alone
          refused++;
          break;
        default: // 404, as its agent may be cut off; 429, 503, no answer, a proxy's word: another may take it, or later
      }
      if (left() <= 0) {
        break;
      }
    }
    if (refused > 0) {
      attempt.abandon("the servers refuse its token");
      return Round.OVER;
    }
    return Round.NOBODY;
  }

  private Round smaller(Outbox.Batch batch) {
    if (batch.size() > 1) {
      mostEvents = batch.size() / 2;
      return Round.AGAIN;
    }
    if (!outbox.drop(batch)) {
      attempt.abandon("a server finds its result too large");
      return Round.OVER;
    }
    return Round.AGAIN;
  }

  private synchronized long left() {
    return end - System.nanoTime();
  }

  private static Duration min(Duration a, Duration b) {
    return a.compareTo(b) < 0 ? a : b;
  }
}
