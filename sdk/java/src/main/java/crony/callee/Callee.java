package crony.callee;

import com.sun.net.httpserver.HttpHandler;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import javax.net.ssl.SSLContext;

/**
 * Takes crony's calls, does their work in the background, and delivers what they tell. A service has one, for all its jobs,
 * and closes it when it goes down. All methods may be called by any thread.
 */
public final class Callee implements AutoCloseable {
  static final System.Logger LOG = System.getLogger("crony.callee");

  private static final int MOST_BODY = 8 << 20; // bytes of a call that the handler reads
  private static final int COURIERS = 8;
  private static final int REMEMBERED = 10_000; // attempts that have ended: a call of one is a call that was repeated

  private final int maxRuns;
  private final long maxHeld;
  private final List<URI> servers;
  private final Duration closeWithin;
  private final Pace pace;
  private final Servers post;
  private final AtomicLong held = new AtomicLong();
  private final ExecutorService workers = Executors.newCachedThreadPool(daemons("crony-work-"));
  private final ScheduledThreadPoolExecutor couriers = scheduler(COURIERS, "crony-courier-");
  private final ScheduledThreadPoolExecutor alarms = scheduler(1, "crony-alarm-");

  // Guarded by lock, which nobody holds while they wait for anything but it.
  private final Object lock = new Object();
  private final Map<String, Attempt> live = new LinkedHashMap<>(); // until delivered
  private final Map<String, Boolean> ended = new LinkedHashMap<>() {
    private static final long serialVersionUID = 1;

    @Override
    protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
      return size() > REMEMBERED;
    }
  };
  private int running;
  private boolean closing;

  private Callee(Builder b) {
    maxRuns = b.maxRuns;
    maxHeld = b.maxHeld;
    servers = b.servers;
    closeWithin = b.closeWithin;
    pace = b.pace;
    post = new Servers(b.tls, b.pace.answer());
  }

  /**
   * Returns a builder, all of whose settings may be left as they are.
   *
   * @return the builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns a handler for the HTTP server of the JDK, for the calls of one job or of several that do the same.
   *
   * @param work what each call does
   * @return the handler
   */
  public HttpHandler handler(Work work) {
    return exchange -> {
      try (exchange) {
        byte[] body = exchange.getRequestBody().readNBytes(MOST_BODY + 1);
        Answer answer = body.length > MOST_BODY
            ? new Answer(413, "a body of more than " + MOST_BODY + " bytes")
            : accept(exchange.getRequestHeaders()::getFirst, body, work);
        byte[] message = (answer.message() + "\n").getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
        boolean head = exchange.getRequestMethod().equals("HEAD");
        exchange.sendResponseHeaders(answer.status(), head ? -1 : message.length);
        if (!head) {
          exchange.getResponseBody().write(message);
        }
      }
    };
  }

  /**
   * Accepts a call that came in by whatever framework, and returns at once: the work is done in the background. A call that
   * is repeated, as its answer was lost, is accepted again and does nothing more.
   *
   * @param header gives the value of one of the call's headers by its name, in whatever case, and null if it is not there
   * @param body the call's body, for {@link Run#body()}; not to be changed any more
   * @param work what is to be done
   * @return what to answer
   */
  public Answer accept(Function<String, String> header, byte[] body, Work work) {
    Call call;
    try {
      call = Call.read(header, servers);
    } catch (IllegalArgumentException e) {
      return new Answer(400, e.getMessage());
    }
    Attempt attempt;
    synchronized (lock) {
      if (live.containsKey(key(call)) || ended.containsKey(key(call))) {
        return new Answer(202, "accepted before");
      }
      if (closing) {
        return new Answer(503, "the service is going down");
      }
      if (running >= maxRuns) {
        return new Answer(503, "busy: " + running + " runs go on here, and no more may");
      }
      if (held.get() > maxHeld) {
        return new Answer(503, "busy: too much waits for crony's servers, which take nothing");
      }
      attempt = new Attempt(this, call, body, new Outbox(call.attempt(), held, maxHeld), pace);
      live.put(key(call), attempt);
      running++;
    }
    return start(attempt, work) ? new Answer(202, "accepted") : new Answer(503, "no thread can be had for another run");
  }

  private boolean start(Attempt attempt, Work work) {
    boolean started = false;
    try {
      attempt.call().budget(Instant.now()).ifPresent(left -> attempt.alarm(
          alarms.schedule(() -> attempt.interrupt("the deadline has passed"), left.toNanos(), TimeUnit.NANOSECONDS)));
      workers.execute(() -> {
        try {
          attempt.work(work);
        } finally {
          worked();
        }
      });
      started = true;
    } catch (RejectedExecutionException | OutOfMemoryError e) { // closed meanwhile, or the system is out of threads
      LOG.log(Level.WARNING, attempt + ": can't be started: " + e.getMessage());
    } finally {
      if (!started) {
        attempt.end();
        synchronized (lock) {
          live.remove(key(attempt.call())); // not accepted: it may be called again
        }
        worked();
      }
    }
    return started;
  }

  private void worked() {
    synchronized (lock) {
      running--;
      lock.notifyAll();
    }
  }

  Courier courier(Attempt attempt, Outbox outbox, Duration budget) {
    return new Courier(attempt, outbox, post, couriers, pace, budget);
  }

  /** Forgets an attempt, but for its name: all of it was delivered, or nobody is told any more. */
  void ended(Attempt attempt) {
    synchronized (lock) {
      live.remove(key(attempt.call()));
      ended.put(key(attempt.call()), true);
      lock.notifyAll();
    }
  }

  private static String key(Call call) {
    return call.run() + "/" + call.attempt();
  }

  /**
   * Returns how many runs' work goes on.
   *
   * @return the number
   */
  public int running() {
    synchronized (lock) {
      return running;
    }
  }

  /**
   * Returns how many runs' work goes on, or has ended and is not delivered yet.
   *
   * @return the number
   */
  public int undelivered() {
    synchronized (lock) {
      return live.size();
    }
  }

  /**
   * Accepts no more, and returns when all work has ended and all it told is delivered, at the latest after the time that the
   * builder was given. Work that goes on after half of that is interrupted, and its run fails with that reason. What can't be
   * delivered in the other half is lost: crony ends such runs by their deadline. An interrupt of the calling thread makes it
   * return without waiting any longer.
   */
  @Override
  public void close() {
    List<Attempt> left;
    synchronized (lock) {
      closing = true;
    }
    long end = System.nanoTime() + closeWithin.toNanos();
    try {
      await(end - closeWithin.dividedBy(2).toNanos(), true);
      for (Attempt a : attempts()) {
        a.interrupt("the service went down before the work was done");
        a.hurry(Duration.ofNanos(end - System.nanoTime()));
      }
      await(end, false);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      alarms.shutdownNow();
      couriers.shutdownNow();
      workers.shutdownNow();
      left = attempts();
      left.forEach(a -> a.abandon("the service went down"));
    }
  }

  private List<Attempt> attempts() {
    synchronized (lock) {
      return new ArrayList<>(live.values());
    }
  }

  /** Waits until no work goes on, or until nothing is left to deliver either. */
  private void await(long end, boolean workOnly) throws InterruptedException {
    synchronized (lock) {
      while (running > 0 || !workOnly && !live.isEmpty()) {
        long left = end - System.nanoTime();
        if (left <= 0) {
          return;
        }
        TimeUnit.NANOSECONDS.timedWait(lock, left);
      }
    }
  }

  private static ScheduledThreadPoolExecutor scheduler(int threads, String name) {
    ScheduledThreadPoolExecutor s = new ScheduledThreadPoolExecutor(threads, daemons(name));
    s.setRemoveOnCancelPolicy(true);
    return s;
  }

  private static ThreadFactory daemons(String name) {
    AtomicInteger n = new AtomicInteger();
    return r -> {
      Thread t = new Thread(r, name + n.incrementAndGet());
      t.setDaemon(true); // a service that ends without close() is not held up
      return t;
    };
  }

  /** Settings of a {@link Callee}. */
  public static final class Builder {
    private int maxRuns = 64;
    private long maxHeld = 64 << 20;
    private List<URI> servers = List.of();
    private Duration closeWithin = Duration.ofSeconds(20);
    private SSLContext tls;
    private Pace pace = Pace.USUAL;

    private Builder() {}

    /**
     * Sets how many runs may go on at once, each on a thread. A call beyond is answered with 503, for the job's retry.
     *
     * @param n the number, 1 or more; 64 if not set
     * @return this
     */
    public Builder maxRuns(int n) {
      if (n < 1) {
        throw new IllegalArgumentException("maxRuns: " + n + "; give 1 or more");
      }
      maxRuns = n;
      return this;
    }

    /**
     * Sets how much may wait for servers, of all runs together. Beyond it the oldest log is dropped, and calls are answered
     * with 503; results are kept. One run never keeps more than a MiB of log.
     *
     * @param bytes the number, 1 or more; 64 MiB if not set
     * @return this
     */
    public Builder maxHeld(long bytes) {
      if (bytes < 1) {
        throw new IllegalArgumentException("maxHeld: " + bytes + "; give 1 or more");
      }
      maxHeld = bytes;
      return this;
    }

    /**
     * Sets the servers to tell, instead of those that each call names: where these have other addresses for the service, or
     * where not everyone who can call it is trusted.
     *
     * @param urls base URLs such as {@code https://host:8470}
     * @return this
     */
    public Builder servers(String... urls) {
      List<URI> all = new ArrayList<>();
      for (String url : urls) {
        all.add(Call.server(url));
      }
      servers = List.copyOf(all);
      return this;
    }

    /**
     * Sets whom to trust as a server, and as whom to speak to it.
     *
     * @param context the context; the JDK's own if not set
     * @return this
     */
    public Builder sslContext(SSLContext context) {
      tls = context;
      return this;
    }

    /**
     * Trusts servers with certificates by one of some authorities, such as the cluster's own, and no others.
     *
     * @param pem a file with the authorities' certificates
     * @return this
     * @throws IOException if the file can't be read, or holds no certificates
     */
    public Builder trust(Path pem) throws IOException {
      return sslContext(Servers.trusting(pem));
    }

    /**
     * Sets how long {@link Callee#close} may take: half of it for work to end by itself, the rest to deliver.
     *
     * @param time the time; 20 seconds if not set
     * @return this
     */
    public Builder closeWithin(Duration time) {
      if (time.isNegative()) {
        throw new IllegalArgumentException("closeWithin: " + time + "; give 0 or more");
      }
      closeWithin = time;
      return this;
    }

    Builder pace(Pace pace) {
      this.pace = pace;
      return this;
    }

    /**
     * Makes a callee.
     *
     * @return the callee
     */
    public Callee build() {
      return new Callee(this);
    }
  }
}
