package crony.callee;

import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/**
 * Runs the tests: each static method of a suite that is not private and takes nothing. Arguments choose those whose names hold
 * one of them. The exit code is 1 if one fails.
 */
final class Tests {
  private static final List<Class<?>> SUITES =
      List.of(JsonTest.class, CallTest.class, OutboxTest.class, DeliveryTest.class, CalleeTest.class, ExamplesTest.class);

  /** Why a test can't be run here. */
  static final class Skipped extends RuntimeException {
    private static final long serialVersionUID = 1;

    Skipped(String why) {
      super(why);
    }
  }

  private static final Logger LOG = Logger.getLogger("crony.callee");
  private static final ConcurrentLinkedQueue<String> LOGGED = new ConcurrentLinkedQueue<>();

  private Tests() {}

  public static void main(String[] chosen) throws Exception {
    LOG.setUseParentHandlers(false); // what is expected to fail is no news
    LOG.setLevel(Level.ALL);
    LOG.addHandler(new Keeper());
    int failed = 0;
    int run = 0;
    long began = System.nanoTime();
    for (Class<?> suite : SUITES) {
      Method[] methods = suite.getDeclaredMethods();
      Arrays.sort(methods, Comparator.comparing(Method::getName));
      for (Method m : methods) {
        String name = suite.getSimpleName() + "." + m.getName();
        boolean test = Modifier.isStatic(m.getModifiers()) && !Modifier.isPrivate(m.getModifiers()) && !m.isSynthetic()
            && m.getParameterCount() == 0;
        if (test && (chosen.length == 0 || Arrays.stream(chosen).anyMatch(name::contains))) {
          run++;
          failed += passes(name, m) ? 0 : 1;
        }
      }
    }
    System.out.printf("%d tests, %d failed, in %.1f s%n", run, failed, (System.nanoTime() - began) / 1e9);
    System.exit(failed == 0 && run > 0 ? 0 : 1);
  }

  private static boolean passes(String name, Method test) throws InterruptedException {
    List<Throwable> thrown = new ArrayList<>();
    LOGGED.clear();
    Thread t = new Thread(() -> {
      try {
        test.invoke(null);
        tokensAreKept();
      } catch (Throwable e) {
        synchronized (thrown) {
          thrown.add(e.getCause() == null || e instanceof AssertionError ? e : e.getCause());
        }
      }
    }, name);
    long began = System.nanoTime();
    t.start();
    t.join(300_000);
    if (t.isAlive()) {
      System.out.println("FAIL " + name + ": hangs");
      Thread.getAllStackTraces().forEach((thread, stack) -> {
        System.out.println(thread);
        Arrays.stream(stack).forEach(at -> System.out.println("  at " + at));
      });
      System.exit(1);
    }
    synchronized (thrown) {
      if (thrown.isEmpty()) {
        System.out.printf("ok   %s (%d ms)%n", name, (System.nanoTime() - began) / 1_000_000);
        return true;
      }
      if (thrown.get(0) instanceof Skipped s && System.getenv("CRONY_REQUIRE_ALL") == null) {
        System.out.println("skip " + name + ": " + s.getMessage());
        return true;
      }
      System.out.println("FAIL " + name);
      thrown.get(0).printStackTrace(System.out);
      LOGGED.forEach(line -> System.out.println("  log: " + line));
      return false;
    }
  }

  /** No test may have the library log a token, at any level. */
  private static void tokensAreKept() {
    LOGGED.forEach(line -> check(!line.contains(FakeCluster.TOKEN), "a token in the log: %s", line));
  }

  static void check(boolean is, String format, Object... args) {
    if (!is) {
      throw new AssertionError(String.format(format, args));
    }
  }

  static void same(Object got, Object want) {
    check(Objects.deepEquals(got, want), "got  %s%nwant %s", got, want);
  }

  /** Returns what a call throws, which must be of a type. */
  static <T extends Throwable> T fails(Class<T> type, Callable<?> call) {
    Object v;
    try {
      v = call.call();
    } catch (Throwable e) {
      check(type.isInstance(e), "got %s, want a %s", e, type);
      return type.cast(e);
    }
    throw new AssertionError("returns " + v + ", want a " + type);
  }

  /** Waits until something is so. It counts looks, not time, as a machine may stand still. */
  static void until(String what, Callable<Boolean> is) throws Exception {
    for (int looks = 0; looks < 15_000; looks++) {
      if (is.call()) {
        return;
      }
      Thread.sleep(2);
    }
    throw new AssertionError("never: " + what);
  }

  /** Returns what was logged since the test began. */
  static String logged() {
    return String.join("\n", LOGGED);
  }

  private static final class Keeper extends Handler {
    @Override
    public void publish(LogRecord r) {
      LOGGED.add(r.getLevel() + " " + r.getMessage() + (r.getThrown() == null ? "" : " " + r.getThrown()));
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }
}
