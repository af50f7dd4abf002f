package crony.callee;

import static crony.callee.Tests.check;
import static crony.callee.Tests.fails;
import static crony.callee.Tests.same;

import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

final class CallTest {
  private static final String TOKEN = FakeCluster.TOKEN + "x";

  private CallTest() {}

  private static Map<String, String> headers(String... other) {
    Map<String, String> headers = new HashMap<>(Map.of("Crony-Job", "import", "Crony-Run-Id", "01JABC", "Crony-Attempt", "2",
        "Crony-Epoch", "77", "Crony-Token", TOKEN, "Crony-Servers", "https://a:8470, https://b:8470/,,http://[::1]:8470/crony/",
        "Crony-Scheduled-At", "2027-03-01T05:00:00.5+01:00", "Crony-Deadline", "2027-03-01T05:00:00Z", "Crony-Timeout", "60"));
    for (int i = 0; i < other.length; i += 2) {
      headers.put(other[i], other[i + 1]);
    }
    return headers;
  }

  static void headersAreRead() {
    Call c = Call.read(headers()::get, List.of());
    same(c, new Call("import", "01JABC", 2, Optional.of(Instant.parse("2027-03-01T04:00:00.5Z")),
        Optional.of(Instant.parse("2027-03-01T05:00:00Z")), Optional.of(Duration.ofMinutes(1)), OptionalLong.of(77), TOKEN,
        List.of(URI.create("https://a:8470"), URI.create("https://b:8470"), URI.create("http://[::1]:8470/crony"))));
    check(!c.toString().contains("secret"), "%s", c);
    Call least = Call.read(headers("Crony-Job", null, "Crony-Epoch", null, "Crony-Scheduled-At", "", "Crony-Deadline", null,
        "Crony-Timeout", "0", "Crony-Servers", "evil")::get, List.of(URI.create("https://own")));
    same(least.servers(), List.of(URI.create("https://own")));
    check(least.job().isEmpty() && least.epoch().isEmpty() && least.budget(Instant.now()).isEmpty(), "%s", least);
  }

  static void theBudgetIsTheTimeoutElseUpToTheDeadline() {
    Instant now = Instant.parse("2027-03-01T04:59:30Z");
    same(Call.read(headers()::get, List.of()).budget(now), Optional.of(Duration.ofMinutes(1)));
    Call deadline = Call.read(headers("Crony-Timeout", null)::get, List.of());
    same(deadline.budget(now), Optional.of(Duration.ofSeconds(30)));
    same(deadline.budget(now.plusSeconds(60)), Optional.of(Duration.ZERO));
    Call never = Call.read(headers("Crony-Timeout", null, "Crony-Deadline", "9999-12-31T00:00:00Z")::get, List.of());
    same(never.budget(now), Optional.empty());
  }

  static void badHeadersAreRefusedWithTheReason() {
    String[][] cases = {
        {"Crony-Token", null, "Crony-Token: missing"}, {"Crony-Token", " ", "Crony-Token: missing"},
        {"Crony-Token", TOKEN + "\n", null}, {"Crony-Token", TOKEN + " b", "not a token"},
        {"Crony-Token", TOKEN + "ä", "not a token"}, {"Crony-Token", TOKEN + "\r\nX: y", "not a token"},
        {"Crony-Run-Id", null, "missing"}, {"Crony-Run-Id", "../../x", "not the id"}, {"Crony-Run-Id", "a/b", "not the id"},
        {"Crony-Run-Id", "a?b", "not the id"}, {"Crony-Run-Id", "a".repeat(129), "not the id"},
        {"Crony-Attempt", null, "missing"}, {"Crony-Attempt", "0", "whole number from 1"}, {"Crony-Attempt", "-1", "whole"},
        {"Crony-Attempt", "1.5", "whole"}, {"Crony-Attempt", "99999999999", "whole"}, {"Crony-Epoch", "x", "Crony-Epoch: "},
        {"Crony-Timeout", "5m", "Crony-Timeout: "}, {"Crony-Timeout", "-5", "Crony-Timeout: "},
        {"Crony-Deadline", "tomorrow", "Crony-Deadline: not a time"}, {"Crony-Deadline", "2027-03-01", "not a time"},
        {"Crony-Scheduled-At", "1700000000", "Crony-Scheduled-At: not a time"},
        {"Crony-Servers", null, "missing"}, {"Crony-Servers", ",, ,", "0 servers"}, {"Crony-Servers", "host:8470", "base URL"},
        {"Crony-Servers", "ftp://host", "base URL"}, {"Crony-Servers", "file:///etc/passwd", "base URL"},
        {"Crony-Servers", "https://u:secret@host", "base URL"}, {"Crony-Servers", "https://host?x=1", "base URL"},
        {"Crony-Servers", "https://host#x", "base URL"}, {"Crony-Servers", "https:///x", "base URL"},
        {"Crony-Servers", "https://ho st", "base URL"}, {"Crony-Servers", "https://host:99999", "base URL"},
        {"Crony-Servers", "https://a,".repeat(33), "33 servers"},
    };
    for (String[] c : cases) {
      if (c[2] == null) {
        Call.read(headers(c[0], c[1])::get, List.of()); // space around it is not of it
        continue;
      }
      String message =
          fails(IllegalArgumentException.class, () -> Call.read(headers(c[0], c[1])::get, List.of())).getMessage();
      check(message.contains(c[2]) && message.contains(c[0]) && !message.contains("secret"), "%s: %s", c[1], message);
    }
  }
}
