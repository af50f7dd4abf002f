package crony.callee;

import java.net.URI;
import java.net.URISyntaxException;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;
import java.util.regex.Pattern;

/** What the headers of a call say, checked. The token is for the servers alone: no message and no toString tells it. */
record Call(
    String job,
    String run,
    int attempt,
    Optional<Instant> scheduledAt,
    Optional<Instant> deadline,
    Optional<Duration> timeout,
    OptionalLong epoch,
    String token,
    List<URI> servers) {

  private static final Pattern RUN = Pattern.compile("[0-9A-Za-z_-]{1,128}"); // it becomes part of a path
  private static final Pattern TOKEN = Pattern.compile("[!-~]{1,4096}");
  private static final int MOST_SERVERS = 32;

  /**
   * Reads a call.
   *
   * @param header gives a header's value by its name, or null
   * @param servers takes the place of those that the call names, unless it is empty
   * @throws IllegalArgumentException that says what is wrong, fit for the answer's body
   */
  static Call read(Function<String, String> header, List<URI> servers) {
    String token = wanted(header, "Crony-Token");
    if (!TOKEN.matcher(token).matches()) {
      throw new IllegalArgumentException("Crony-Token: not a token");
    }
    String run = wanted(header, "Crony-Run-Id");
    if (!RUN.matcher(run).matches()) {
      throw new IllegalArgumentException("Crony-Run-Id: not the id of a run");
    }
    long attempt = number("Crony-Attempt", wanted(header, "Crony-Attempt"), 1, Integer.MAX_VALUE);
    Optional<String> timeout = value(header, "Crony-Timeout");
    Optional<String> epoch = value(header, "Crony-Epoch");
    return new Call(
        value(header, "Crony-Job").orElse(""),
        run,
        (int) attempt,
        time(header, "Crony-Scheduled-At"),
        time(header, "Crony-Deadline"),
        timeout.map(s -> Duration.ofSeconds(number("Crony-Timeout", s, 0, Integer.MAX_VALUE))).filter(d -> !d.isZero()),
        epoch.map(s -> OptionalLong.of(number("Crony-Epoch", s, 0, Long.MAX_VALUE))).orElse(OptionalLong.empty()),
        token,
        servers.isEmpty() ? servers(wanted(header, "Crony-Servers")) : servers);
  }

  /** Returns how long the attempt may take from now on; empty if the call sets no bound, or one beyond a lifetime. */
  Optional<Duration> budget(Instant now) {
    return timeout.or(() -> deadline.map(at -> Duration.between(now, at)))
        .map(left -> left.isNegative() ? Duration.ZERO : left)
        .filter(left -> left.toDays() < 100 * 365);
  }

  /** Returns the base URL of a server, without a slash at its end. */
  static URI server(String text) {
    URI uri;
    try {
      uri = new URI(text.replaceAll("/+$", ""));
    } catch (URISyntaxException e) {
      throw new IllegalArgumentException("not the base URL of a server: " + e.getReason());
    }
    boolean http = "https".equalsIgnoreCase(uri.getScheme()) || "http".equalsIgnoreCase(uri.getScheme());
    if (!http || uri.getHost() == null || uri.getPort() == 0 || uri.getPort() > 65535
        || uri.getRawUserInfo() != null || uri.getRawQuery() != null || uri.getRawFragment() != null) {
      throw new IllegalArgumentException("not the base URL of a server: give it as https://host:8470");
    }
    return uri;
  }

  private static List<URI> servers(String list) {
    List<URI> servers = new ArrayList<>();
    for (String one : list.split(",")) {
      if (one.isBlank()) {
        continue;
      }
      try {
        servers.add(server(one.strip()));
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException("Crony-Servers: " + e.getMessage());
      }
    }
    if (servers.isEmpty() || servers.size() > MOST_SERVERS) {
      throw new IllegalArgumentException("Crony-Servers: " + servers.size() + " servers; give 1 to " + MOST_SERVERS);
    }
    return List.copyOf(servers);
  }

  private static Optional<String> value(Function<String, String> header, String name) {
    return Optional.ofNullable(header.apply(name)).map(String::strip).filter(s -> !s.isEmpty());
  }

  private static String wanted(Function<String, String> header, String name) {
    return value(header, name).orElseThrow(() ->
        new IllegalArgumentException(name + ": missing; this takes calls of crony's asynchronous jobs (async: true)"));
  }

  private static long number(String name, String text, long from, long to) {
    try {
      long n = Long.parseLong(text);
      if (n >= from && n <= to) {
        return n;
      }
    } catch (NumberFormatException e) { // told below, without what was given
    }
    throw new IllegalArgumentException(name + ": not a whole number from " + from + " to " + to);
  }

  private static Optional<Instant> time(Function<String, String> header, String name) {
    return value(header, name).map(text -> {
      try {
        return OffsetDateTime.parse(text).toInstant();
      } catch (DateTimeException e) {
        throw new IllegalArgumentException(name + ": not a time of RFC 3339, such as 2027-03-01T04:00:00Z");
      }
    });
  }

  /** Says which attempt of which run it is. */
  @Override
  public String toString() {
    return (job.isEmpty() ? "" : "job " + job + ", ") + "run " + run + ", attempt " + attempt;
  }
}
