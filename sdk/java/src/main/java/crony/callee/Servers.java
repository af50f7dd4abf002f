package crony.callee;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Posts reports to servers, and knows which of them has answered last, so that a dead one does not cost each run its wait. */
final class Servers {
  private static final int MOST_ANSWER = 64 << 10; // bytes

  /**
   * What a server says to a report.
   *
   * @param status its status; 0 if there was none, or an answer that is not a crony server's
   * @param stop why the run is to stop; empty if it is not
   */
  record Reply(int status, String stop) {}

  private static final Reply NONE = new Reply(0, "");

  private final HttpClient client;
  private final Duration patience;
  private volatile URI good;

  Servers(SSLContext tls, Duration patience) {
    HttpClient.Builder b = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1)
        .followRedirects(HttpClient.Redirect.NEVER) // the token is for the servers alone
        .connectTimeout(patience.dividedBy(2));
    this.client = (tls == null ? b : b.sslContext(tls)).build();
    this.patience = patience;
  }

  /** Returns servers in the order in which to try them: the one that was good last comes first, then as they are. */
  List<URI> order(List<URI> servers) {
    URI first = good;
    List<URI> order = new ArrayList<>(servers);
    if (first != null && order.remove(first)) {
      order.add(0, first);
    }
    return order;
  }

  /** Tells a server, within its patience. What goes wrong is a status of 0. */
  Reply post(URI server, Call call, String body) throws InterruptedException {
    HttpRequest request = HttpRequest.newBuilder(URI.create(server + "/api/v1/callbacks/" + call.run()))
        .header("Authorization", "Bearer " + call.token())
        .header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(body))
        .build();
    CompletableFuture<HttpResponse<byte[]>> answer = client.sendAsync(request, info -> new Bounded());
    Reply reply = NONE;
    try {
      HttpResponse<byte[]> r = answer.get(patience.toMillis(), TimeUnit.MILLISECONDS);
      reply = r.statusCode() == 200 ? new Reply(200, stop(r.body())) : new Reply(r.statusCode(), "");
    } catch (ExecutionException | TimeoutException | IOException e) {
      Callee.LOG.log(System.Logger.Level.DEBUG, () -> "server " + server + " does not answer: " + e);
    } finally {
      answer.cancel(true);
    }
    if (reply.status == 200) {
      good = server;
    } else if (server.equals(good)) {
      good = null;
    }
    return reply;
  }

  /** Returns a context that trusts certificates of some authorities alone. */
  static SSLContext trusting(Path pem) throws IOException {
    try (InputStream in = Files.newInputStream(pem)) {
      KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
      store.load(null, null);
      for (Certificate c : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
        store.setCertificateEntry("authority-" + store.size(), c);
      }
      if (store.size() == 0) {
        throw new IOException(pem + " holds no certificates");
      }
      TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      trust.init(store);
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, trust.getTrustManagers(), null);
      return context;
    } catch (GeneralSecurityException e) {
      throw new IOException(pem + " holds no certificates: " + e.getMessage(), e);
    }
  }

  /** Reads the one key that counts in an answer. A proxy's page with status 200 is an error, so that it is no receipt. */
  static String stop(byte[] answer) throws IOException {
    String text;
    try {
      text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(answer)).toString();
    } catch (CharacterCodingException e) {
      throw new IOException("not UTF-8", e);
    }
    if (!(JsonReader.read(text) instanceof Map<?, ?> members)) {
      throw new IOException("not an object");
    }
    Object stop = members.get("stop");
    if (stop != null && !(stop instanceof String)) {
      throw new IOException("stop is not a string");
    }
    return stop == null ? "" : (String) stop;
  }

  /** A body of an answer, up to its bound. */
  private static final class Bounded implements HttpResponse.BodySubscriber<byte[]> {
    private final HttpResponse.BodySubscriber<byte[]> all = HttpResponse.BodySubscribers.ofByteArray();
    private Flow.Subscription subscription;
    private long read;

    @Override
    public CompletionStage<byte[]> getBody() {
      return all.getBody();
    }

    @Override
    public void onSubscribe(Flow.Subscription s) {
      subscription = s;
      all.onSubscribe(s);
    }

    @Override
    public void onNext(List<ByteBuffer> item) {
      for (ByteBuffer b : item) {
        read += b.remaining();
      }
      if (read > MOST_ANSWER) {
        subscription.cancel();
        all.onError(new IOException("an answer of more than " + MOST_ANSWER + " bytes"));
        return;
      }
      all.onNext(item);
    }

    @Override
    public void onError(Throwable e) {
      all.onError(e);
    }

    @Override
    public void onComplete() {
      all.onComplete();
    }
  }
}
