package crony.callee;

import java.lang.reflect.Array;
import java.lang.reflect.InaccessibleObjectException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.RecordComponent;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.time.Duration;
import java.time.temporal.Temporal;
import java.util.Collection;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** Writes JSON (RFC 8259). What has no JSON form is refused, so that nothing is told that its reader takes for something else. */
final class Json {
  private static final int MOST_DEPTH = 64; // a value that holds itself ends here

  private final StringBuilder out = new StringBuilder();
  private final int most;

  private Json(int most) {
    this.most = most;
  }

  /**
   * Returns the JSON of a value.
   *
   * @param most how many characters it may have
   * @throws IllegalArgumentException that says what has no JSON form
   */
  static String write(Object value, int most) {
    Json json = new Json(most);
    json.value(value, 0);
    return json.out.toString();
  }

  /** Returns a string's JSON. */
  static String quote(String text) {
    Json json = new Json(Integer.MAX_VALUE);
    json.string(text);
    return json.out.toString();
  }

  private void value(Object v, int depth) {
    if (depth > MOST_DEPTH) {
      throw new IllegalArgumentException("it is nested more than " + MOST_DEPTH + " deep, or holds itself");
    }
    if (out.length() > most) {
      throw new IllegalArgumentException("its JSON has more than " + most + " characters");
    }
    if (v == null || v instanceof Boolean) {
      out.append(v);
    } else if (v instanceof Number n) {
      number(n);
    } else if (v instanceof Map<?, ?> map) {
      object(map, depth);
    } else if (v instanceof Collection<?> all) {
      array(all.toArray(), depth);
    } else if (v.getClass().isArray()) {
      array(v, depth);
    } else if (v instanceof Record record) {
      record(record, depth);
    } else if (v instanceof Optional<?> maybe) {
      value(maybe.orElse(null), depth + 1);
    } else {
      string(text(v));
    }
    if (out.length() > most) {
      throw new IllegalArgumentException("its JSON has more than " + most + " characters");
    }
  }

  private static String text(Object v) {
    if (v instanceof Enum<?> constant) {
      return constant.name();
    }
    if (v instanceof CharSequence || v instanceof Character || v instanceof Temporal || v instanceof Duration
        || v instanceof UUID || v instanceof URI) {
      return v.toString();
    }
    throw new IllegalArgumentException("it holds a " + v.getClass().getName() + ", which has no JSON form here");
  }

  private void number(Number n) {
    if ((n instanceof Double || n instanceof Float) && !Double.isFinite(n.doubleValue())) {
      throw new IllegalArgumentException("it holds " + n + ", which JSON has no number for");
    }
    boolean known = n instanceof Long || n instanceof Integer || n instanceof Short || n instanceof Byte
        || n instanceof Double || n instanceof Float || n instanceof BigInteger || n instanceof BigDecimal
        || n instanceof AtomicInteger || n instanceof AtomicLong;
    if (!known) {
      throw new IllegalArgumentException("it holds a " + n.getClass().getName() + ", which has no JSON form here");
    }
    out.append(n);
  }

  private void object(Map<?, ?> map, int depth) {
    out.append('{');
    String comma = "";
    for (Map.Entry<?, ?> e : map.entrySet()) {
      Object key = e.getKey();
      if (key == null) {
        throw new IllegalArgumentException("it holds a map with a key that is null");
      }
      out.append(comma);
      string(key instanceof Long || key instanceof Integer ? key.toString() : text(key));
      out.append(':');
      value(e.getValue(), depth + 1);
      comma = ",";
    }
    out.append('}');
  }

  private void array(Object array, int depth) {
    out.append('[');
    for (int i = 0; i < Array.getLength(array); i++) {
      if (i > 0) {
        out.append(',');
      }
      value(Array.get(array, i), depth + 1);
    }
    out.append(']');
  }

  private void record(Record record, int depth) {
    out.append('{');
    String comma = "";
    for (RecordComponent c : record.getClass().getRecordComponents()) {
      out.append(comma);
      string(c.getName());
      out.append(':');
      value(component(record, c), depth + 1);
      comma = ",";
    }
    out.append('}');
  }

  private static Object component(Record record, RecordComponent c) {
    String name = record.getClass().getName();
    try {
      c.getAccessor().setAccessible(true); // a record may be local to a method
      return c.getAccessor().invoke(record);
    } catch (InaccessibleObjectException | IllegalAccessException e) {
      throw new IllegalArgumentException("it holds a " + name + ", which its module does not open to crony.callee", e);
    } catch (InvocationTargetException e) {
      throw new IllegalArgumentException("it holds a " + name + ", of which " + c.getName() + "() fails", e);
    }
  }

  private void string(String text) {
    out.append('"');
    String whole = Text.wellFormed(text);
    for (int i = 0; i < whole.length(); i++) {
      char c = whole.charAt(i);
      switch (c) {
        case '"', '\\' -> out.append('\\').append(c);
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        default -> {
          if (c < 0x20) {
            out.append(String.format("\\u%04x", (int) c));
          } else {
            out.append(c);
          }
        }
      }
    }
    out.append('"');
  }
}
