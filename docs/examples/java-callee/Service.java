import com.sun.net.httpserver.HttpServer;
import crony.callee.Callee;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.stream.Stream;

/**
 * A service that measures a folder when crony calls it. In the sources' root, with JDK 17 or later:
 *
 * <pre>
 * make java
 * java -cp bin/crony-callee.jar docs/examples/java-callee/Service.java 8081 /usr/share
 * bin/crony job apply -f docs/examples/java-callee/jobs.yaml
 * </pre>
 *
 * <p>For servers that speak HTTPS, CRONY_CA names a copy of the file pki/ca.crt of one of them.
 */
public final class Service {
  private Service() {}

  /**
   * Serves until it is told to end.
   *
   * @param args the port, 0 for any, and the folder
   * @throws IOException if the port can't be had
   */
  public static void main(String[] args) throws IOException {
    Path folder = Path.of(args[1]);
    Callee.Builder settings = Callee.builder().maxRuns(8);
    if (System.getenv("CRONY_CA") != null) {
      settings.trust(Path.of(System.getenv("CRONY_CA")));
    }
    Callee callee = settings.build();
    HttpServer http =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0])), 0);
    http.setExecutor(Executors.newFixedThreadPool(4));
    http.createContext("/measure", callee.handler(run -> measure(run, folder)));
    http.start();
    Runtime.getRuntime().addShutdownHook(new Thread(callee::close)); // TERM: what is left is delivered
    System.out.println("listening on " + http.getAddress().getPort());
  }

  private static Object measure(crony.callee.Run run, Path folder) throws IOException {
    List<Path> entries;
    try (Stream<Path> all = Files.list(folder)) {
      entries = all.sorted().toList();
    }
    long files = 0;
    long bytes = 0;
    for (int i = 0; i < entries.size(); i++) {
      if (run.stopped().isPresent()) {
        throw new IOException("stopped at " + entries.get(i));
      }
      long[] part = measure(entries.get(i));
      files += part[0];
      bytes += part[1];
      run.log(entries.get(i).getFileName() + ": " + part[0] + " files, " + part[1] + " bytes");
      run.progress((i + 1) * 100 / entries.size(), entries.get(i).toString());
    }
    return Map.of("files", files, "bytes", bytes);
  }

  private static long[] measure(Path entry) throws IOException {
    long[] sum = new long[2];
    try (Stream<Path> all = Files.walk(entry)) {
      for (Path p : (Iterable<Path>) all.filter(Files::isRegularFile)::iterator) {
        sum[0]++;
        sum[1] += Files.size(p);
      }
    }
    return sum;
  }
}
