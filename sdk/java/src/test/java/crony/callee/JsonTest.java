package crony.callee;

import static crony.callee.Tests.check;
import static crony.callee.Tests.fails;
import static crony.callee.Tests.same;

import java.io.IOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import java.util.UUID;

final class JsonTest {
  private enum Colour { RED }

  private record Point(int x, Object y) {}

  private record Broken(int x) {
    @Override
    public int x() {
      throw new IllegalStateException("no x");
    }
  }

  private JsonTest() {}

  static void valuesAreWritten() {
    Map<Object, String> table = new LinkedHashMap<>();
    table.put(true, "true");
    table.put(-7, "-7");
    table.put(Long.MIN_VALUE, "-9223372036854775808");
    table.put(1.5, "1.5");
    table.put(1e30, "1.0E30");
    table.put(new BigInteger("123456789012345678901234567890"), "123456789012345678901234567890");
    table.put(new BigDecimal("1E+3"), "1E+3");
    table.put("a \"b\" \\ / \n\r\t\b\0\u001f\u007f", "\"a \\\"b\\\" \\\\ / \\n\\r\\t\\u0008\\u0000\\u001f\u007f\"");
    table.put("Käse 夜 😀 \u2028", "\"Käse 夜 😀 \u2028\"");
    table.put("\ud83d", "\"\ufffd\"");
    table.put("a\ude00\ud83d", "\"a\ufffd\ufffd\"");
    table.put('x', "\"x\"");
    table.put(Colour.RED, "\"RED\"");
    table.put(List.of(), "[]");
    table.put(Arrays.asList(1, null, List.of("x")), "[1,null,[\"x\"]]");
    table.put(new int[] {1, 2}, "[1,2]");
    table.put(new Object[][] {{}, {"a"}}, "[[],[\"a\"]]");
    table.put(Map.of(), "{}");
    table.put(new TreeMap<>(Map.of("b", 1, "a\"", new TreeMap<>())), "{\"a\\\"\":{},\"b\":1}");
    table.put(Map.of(3, Optional.of(4)), "{\"3\":4}");
    table.put(Map.of(Colour.RED, Optional.empty()), "{\"RED\":null}");
    table.put(new Point(1, new Point(2, null)), "{\"x\":1,\"y\":{\"x\":2,\"y\":null}}");
    table.put(Instant.EPOCH, "\"1970-01-01T00:00:00Z\"");
    table.put(Duration.ofMinutes(3), "\"PT3M\"");
    table.put(URI.create("https://x/"), "\"https://x/\"");
    table.put(new UUID(0, 1), "\"00000000-0000-0000-0000-000000000001\"");
    table.forEach((value, json) -> same(Json.write(value, 1000), json));
    same(Json.write(null, 10), "null");
  }

  static void whatHasNoJsonFormIsRefused() {
    List<Object> itself = new ArrayList<>();
    itself.add(itself);
    Map<Object, Object> nullKey = new LinkedHashMap<>();
    nullKey.put(null, 1);
    record Case(Object value, String says) {}
    List<Case> cases = List.of(
        new Case(Double.NaN, "holds NaN"),
        new Case(List.of(Double.POSITIVE_INFINITY), "holds Infinity"),
        new Case(Float.NEGATIVE_INFINITY, "holds -Infinity"),
        new Case(new Object(), "java.lang.Object"),
        new Case(Path.of("/tmp/a"), "Path"), // it is a collection of itself
        new Case(Thread.currentThread(), "java.lang.Thread"),
        new Case(itself, "holds itself"),
        new Case(nullKey, "a key that is null"),
        new Case(Map.of(1.5, 1), "java.lang.Double"),
        new Case(new Broken(1), "x() fails"),
        new Case("x".repeat(200), "more than 100 characters"),
        new Case(shared(40), "more than 100 characters"));
    for (Case c : cases) {
      String message = fails(IllegalArgumentException.class, () -> Json.write(c.value, 100)).getMessage();
      check(message.contains(c.says), "%s, want %s", message, c.says);
    }
  }

  /** A small value whose JSON would fill any memory. */
  private static Object shared(int depth) {
    Object v = "x";
    for (int i = 0; i < depth; i++) {
      v = List.of(v, v);
    }
    return v;
  }

  static void jsonIsReadToTheLetter() throws Exception {
    same(JsonReader.read(" {\"a\" : [1, -0.5e+2, true, false, null, \"\\u00e4\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\"]}\r\n"),
        Map.of("a", Arrays.asList(1L, -50.0, true, false, null, "ä😀/\b\f\n\r\t")));
    same(JsonReader.read("123456789012345678901"), 123456789012345678901.0);
    same(JsonReader.read("0"), 0L);
    String deep = "[".repeat(60) + "]".repeat(60);
    same(Json.write(JsonReader.read(deep), 1000), deep);
    List<String> odd = List.of("", " ", "{", "}", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}",
        "{a:1}", "{'a':1}", "{\"a\":1 \"b\":2}",
        "{\"a\":1,\"a\":2}", "{\"a\" 1}", "{1:2}", "nul", "nulll", "True", "tru", "truex",
        "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "NaN", "Infinity", "--1", "1 2", "{} {}", "{}x", "\"", "\"a",
        "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\u٠٠٠٠\"", "\"\n\"", "\"\0\"", "\"\\ud800\"",
        "\"\\ude00\\ud83d\"",
        "\"\ud83d\"", "/**/1", "1//", "\ufeff{}", "\u00a01", "[".repeat(10_000), "{\"a\":".repeat(10_000),
        "[".repeat(100) + "]".repeat(100), "<html></html>");
    for (String text : odd) {
      check(fails(IOException.class, () -> JsonReader.read(text)).getMessage().startsWith("not JSON: "), "%s", text);
    }
  }

  static void onlyStopCountsInAnAnswer() throws Exception {
    record Case(String answer, String stop) {}
    List<Case> cases = List.of(new Case("{}", ""), new Case("{\"stop\":\"killed by ann\"}", "killed by ann"),
        new Case("{\"stop\":\"\"}", ""), new Case("{\"stop\":null}", ""), new Case("{\"x\":{\"stop\":\"no\"}}", ""),
        new Case("{\"x\":[1],\"stop\":\"夜\\n\"}\n", "夜\n"));
    for (Case c : cases) {
      same(Servers.stop(c.answer.getBytes(StandardCharsets.UTF_8)), c.stop);
    }
    for (String odd : List.of("", "[]", "\"stop\"", "null", "{\"stop\":1}", "{\"stop\":{}}",
        "{\"stop\":\"a\",\"stop\":\"b\"}", "OK")) {
      fails(IOException.class, () -> Servers.stop(odd.getBytes(StandardCharsets.UTF_8)));
    }
    fails(IOException.class, () -> Servers.stop(new byte[] {'{', '"', (byte) 0xff, '"', ':', '1', '}'}));
  }

  static void anythingWrittenIsReadAgain() throws Exception {
    Random random = new Random(1);
    for (int i = 0; i < 5_000; i++) {
      Object v = value(random, 0);
      String json = Json.write(v, 1 << 20);
      same(JsonReader.read(json), v);
      same(new String(json.getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8), json);
      same(Text.bytes(json), json.getBytes(StandardCharsets.UTF_8).length);
    }
  }

  static void noTextFoolsTheReader() {
    Random random = new Random(2);
    String bits = "{}[]\",:\\u0129-+.eE truefalsn\n\0\ud83d\ude00ä";
    for (int i = 0; i < 20_000; i++) {
      StringBuilder text = new StringBuilder(Json.write(value(random, 0), 1 << 20));
      for (int n = random.nextInt(4); n >= 0; n--) {
        int at = random.nextInt(text.length() + 1);
        char c = bits.charAt(random.nextInt(bits.length()));
        switch (random.nextInt(3)) {
          case 0 -> text.insert(at, c);
          case 1 -> text.setLength(at);
          default -> text.replace(at, Math.min(at + 1, text.length()), String.valueOf(c));
        }
      }
      try {
        Object v = JsonReader.read(text.toString());
        same(JsonReader.read(Json.write(v, 1 << 20)), v);
      } catch (IOException e) { // the one thing that it may throw
        check(e.getMessage().startsWith("not JSON: "), "%s", e);
      } catch (IllegalArgumentException e) {
        check(e.getMessage().contains("Infinity"), "%s of %s", e, text); // 1e999 is read, and not written
      }
    }
  }

  private static Object value(Random random, int depth) {
    switch (random.nextInt(depth < 4 ? 7 : 5)) {
      case 0:
        return null;
      case 1:
        return random.nextBoolean();
      case 2:
        return random.nextLong() % 1_000_000_000_000_000L;
      case 3:
        return random.nextDouble() * Math.pow(10, random.nextInt(60) - 30);
      case 4:
        return text(random, 8);
      case 5:
        List<Object> list = new ArrayList<>();
        for (int n = random.nextInt(4); n > 0; n--) {
          list.add(value(random, depth + 1));
        }
        return list;
      default:
        Map<String, Object> map = new LinkedHashMap<>();
        for (int n = random.nextInt(4); n > 0; n--) {
          map.put(text(random, 4), value(random, depth + 1));
        }
        return map;
    }
  }

  /** Returns well-formed text of all widths. */
  static String text(Random random, int most) {
    StringBuilder s = new StringBuilder();
    for (int n = random.nextInt(most + 1); n > 0; n--) {
      int[] ends = {0x20, 0x80, 0x800, 0xD800, 0x110000};
      int c = random.nextInt(ends[random.nextInt(ends.length)]);
      s.appendCodePoint(c >= 0xD800 && c < 0xE000 ? 'x' : c);
    }
    return s.toString();
  }

  static void textIsCutBetweenCharacters() {
    same(Text.cut("abcdef", 6), "abcdef");
    same(Text.cut("abcdefg", 6), "abc…");
    same(Text.cut("😀😀", 8), "😀😀");
    same(Text.cut("😀😀", 7), "😀…");
    same(Text.cut("\ud83d", 3), "\ufffd");
    Random random = new Random(3);
    for (int i = 0; i < 10_000; i++) {
      String s = text(random, 20);
      int most = 4 + random.nextInt(20);
      int end = Text.end(s, 0, most);
      byte[] piece = s.substring(0, end).getBytes(StandardCharsets.UTF_8);
      check(piece.length <= most && new String(piece, StandardCharsets.UTF_8).equals(s.substring(0, end)), "%s at %d", s, most);
      check(end == s.length() || piece.length > most - 4, "%s at %d: %d", s, most, end);
    }
  }
}
