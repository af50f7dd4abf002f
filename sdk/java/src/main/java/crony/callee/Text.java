package crony.callee;

/** Text as crony's servers count it: in bytes of UTF-8. */
final class Text {
  private Text() {}

  /** Returns text with U+FFFD for each half of a surrogate pair that lacks the other, so that it has a UTF-8 form. */
  static String wellFormed(String text) {
    StringBuilder mended = null;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (!Character.isSurrogate(c)) {
        continue;
      }
      if (Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))) {
        i++;
        continue;
      }
      if (mended == null) {
        mended = new StringBuilder(text);
      }
      mended.setCharAt(i, '\uFFFD');
    }
    return mended == null ? text : mended.toString();
  }

  /** Returns how many bytes of UTF-8 well-formed text has. */
  static int bytes(CharSequence text) {
    int n = 0;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      n += c < 0x80 ? 1 : c < 0x800 || Character.isSurrogate(c) ? 2 : 3; // a pair has four
    }
    return n;
  }

  /** Returns the end of the longest piece of well-formed text from start on with most bytes or fewer; most is 4 or more. */
  static int end(String text, int start, int most) {
    int left = most;
    int i = start;
    while (i < text.length()) {
      int chars = Character.isHighSurrogate(text.charAt(i)) ? 2 : 1;
      left -= bytes(text.subSequence(i, i + chars));
      if (left < 0) {
        break;
      }
      i += chars;
    }
    return i;
  }

  /** Returns text, well-formed, and of most bytes at the most: of more, the beginning and an ellipsis. */
  static String cut(String text, int most) {
    String whole = wellFormed(text);
    return bytes(whole) <= most ? whole : whole.substring(0, end(whole, 0, most - 3)) + "…";
  }
}
