package crony.callee;

import static crony.callee.Tests.check;
import static crony.callee.Tests.same;

import crony.callee.FakeCluster.Fault;
import crony.callee.Tests.Skipped;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The examples of callees, as processes: each measures a folder. */
final class ExamplesTest {
  private ExamplesTest() {}

  static void theJavaServiceMeasures() throws Exception {
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    String classes = System.getProperty("java.class.path");
    measures(List.of(java, "-XX:TieredStopAtLevel=1", "-cp", classes, "docs/examples/java-callee/Service.java"));
  }

  static void thePythonServiceMeasures() throws Exception {
    try {
      new ProcessBuilder("python3", "--version").redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD)
          .start().waitFor();
    } catch (IOException e) {
      throw new Skipped("python3 is not here");
    }
    measures(List.of("python3", "docs/examples/python-callee/service.py"));
  }

  private static void measures(List<String> command) throws Exception {
    Path dir = Files.createTempDirectory("crony-callee");
    Files.createDirectories(dir.resolve("data/a"));
    Files.writeString(dir.resolve("data/a/one"), "12345");
    Files.writeString(dir.resolve("data/a/two"), "123");
    Files.writeString(dir.resolve("data/b"), "1");
    List<String> all = new ArrayList<>(command);
    all.addAll(List.of("0", dir.resolve("data").toString()));
    ProcessBuilder b = new ProcessBuilder(all).redirectError(ProcessBuilder.Redirect.INHERIT);
    Process service = b.start();
    try (FakeCluster cluster = new FakeCluster(2); BufferedReader out = service.inputReader()) {
      String line = out.readLine();
      check(line != null && line.startsWith("listening on "), "%s", line);
      URI uri = URI.create("http://127.0.0.1:" + line.substring("listening on ".length()) + "/measure");
      cluster.servers.get(0).next(Fault.LOSES_ANSWER, Fault.status(404), Fault.NONE, Fault.status(503), Fault.PROXY_PAGE);
      cluster.servers.get(1).next(Fault.status(404), Fault.LOSES_ANSWER, Fault.ENDLESS);
      same(call(cluster, uri), 202);
      same(call(cluster, uri), 202); // again, as if the answer had been lost
      same(cluster.result("r"), Map.of("state", "succeeded", "data", Map.of("files", 3L, "bytes", 9L)));
      StringBuilder log = new StringBuilder();
      cluster.told("r", "log").forEach(l -> log.append(l.get("text")));
      check(log.toString().matches("(?s)a: 2 files.*\nb: 1 files.*\n"), "%s", log);
      check(!cluster.told("r", "progress").isEmpty(), "no progress");
      HttpRequest stranger = HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.noBody()).build();
      same(HttpClient.newHttpClient().send(stranger, HttpResponse.BodyHandlers.discarding()).statusCode(), 400);
    } finally {
      service.destroy();
      service.waitFor();
      for (String file : List.of("data/a/one", "data/a/two", "data/a", "data/b", "data", ".")) {
        Files.deleteIfExists(dir.resolve(file).normalize());
      }
    }
  }

  private static int call(FakeCluster cluster, URI uri) throws Exception {
    HttpRequest.Builder call = HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofString("{}"));
    cluster.headers("r").forEach(call::header);
    return HttpClient.newHttpClient().send(call.build(), HttpResponse.BodyHandlers.discarding()).statusCode();
  }
}
