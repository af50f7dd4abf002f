package crony.callee;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads JSON (RFC 8259), strictly: what is not JSON to the letter, names a key twice or is nested without measure is refused,
 * as it is no answer of a crony server. Whole numbers become Long, others Double.
 */
final class JsonReader {
  private static final int MOST_DEPTH = 64;

  private final String text;
  private int at;

  private JsonReader(String text) {
    this.text = text;
  }

  /** Returns the value that text is: a Map, List, String, Long, Double, Boolean or null. */
  static Object read(String text) throws IOException {
    JsonReader r = new JsonReader(text);
    Object v = r.value(0);
    r.space();
    if (r.at < text.length()) {
      throw r.wrong("something after its end");
    }
    return v;
  }

  private Object value(int depth) throws IOException {
    if (depth > MOST_DEPTH) {
      throw wrong("nested more than " + MOST_DEPTH + " deep");
    }
    space();
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return string();
      case 't':
        return word("true", true);
      case 'f':
        return word("false", false);
      case 'n':
        return word("null", null);
      default:
        return number();
    }
  }

  private Map<String, Object> object(int depth) throws IOException {
    Map<String, Object> members = new LinkedHashMap<>();
    at++;
    space();
    if (skip('}')) {
      return members;
    }
    do {
      space();
      String key = string();
      space();
      want(':');
      if (members.containsKey(key)) {
        throw wrong("a key twice");
      }
      members.put(key, value(depth + 1));
      space();
    } while (skip(','));
    want('}');
    return members;
  }

  private List<Object> array(int depth) throws IOException {
    List<Object> elements = new ArrayList<>();
    at++;
    space();
    if (skip(']')) {
      return elements;
    }
    do {
      elements.add(value(depth + 1));
      space();
    } while (skip(','));
    want(']');
    return elements;
  }

  private String string() throws IOException {
    want('"');
    StringBuilder s = new StringBuilder();
    while (true) {
      char c = next();
      if (c == '"') {
        break;
      } else if (c == '\\') {
        s.append(escaped());
      } else if (c < 0x20) {
        throw wrong("a control character in a string");
      } else {
        s.append(c);
      }
    }
    String whole = s.toString();
    if (!Text.wellFormed(whole).equals(whole)) {
      throw wrong("half a surrogate pair");
    }
    return whole;
  }

  private char escaped() throws IOException {
    char c = next();
    switch (c) {
      case '"', '\\', '/':
        return c;
      case 'b':
        return '\b';
      case 'f':
        return '\f';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'u':
        int code = 0;
        for (int i = 0; i < 4; i++) {
          char hex = next();
          int digit = hex < 0x80 ? Character.digit(hex, 16) : -1;
          if (digit < 0) {
            throw wrong("an escape of four digits that has not");
          }
          code = code * 16 + digit;
        }
        return (char) code;
      default:
        throw wrong("an unknown escape");
    }
  }

  private Number number() throws IOException {
    int start = at;
    skip('-');
    if (!skip('0')) {
      digits();
    }
    boolean whole = true;
    if (skip('.')) {
      digits();
      whole = false;
    }
    if (skip('e') || skip('E')) {
      if (!skip('+')) {
        skip('-');
      }
      digits();
      whole = false;
    }
    String digits = text.substring(start, at);
    if (whole && digits.length() <= 18) {
      return Long.valueOf(digits);
    }
    return Double.valueOf(digits);
  }

  private void digits() throws IOException {
    int start = at;
    while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
      at++;
    }
    if (at == start) {
      throw wrong("no value");
    }
  }

  private Object word(String word, Object v) throws IOException {
    if (!text.startsWith(word, at)) {
      throw wrong("no value");
    }
    at += word.length();
    return v;
  }

  private void space() {
    while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
  }

  private char peek() throws IOException {
    if (at == text.length()) {
      throw wrong("no end");
    }
    return text.charAt(at);
  }

  private char next() throws IOException {
    char c = peek();
    at++;
    return c;
  }

  private boolean skip(char c) {
    if (at < text.length() && text.charAt(at) == c) {
      at++;
      return true;
    }
    return false;
  }

  private void want(char c) throws IOException {
    if (!skip(c)) {
      throw wrong("no " + c + " where one belongs");
    }
  }

  private IOException wrong(String what) {
    return new IOException("not JSON: " + what + ", at character " + (at + 1));
  }
}
