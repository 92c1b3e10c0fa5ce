import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;

/** One connection of a Kvd, logged in, with TLS or without. */
class KvdConnection {
    static final double FIRST_PAUSE = 0.1, LONGEST_PAUSE = 10; // seconds before connecting again
    static final List<String> STATUS_WORDS = List.of("OK", "OK64", "NONE", "CONFLICT"); // closed for good

    final SocketChannel channel = SocketChannel.open();
    Socket socket = channel.socket();
    byte[] buffer = new byte[1 << 16];
    int used, have;

    KvdConnection(Kvd kv) throws IOException, Kvd.KvdException { // until it is open nothing was asked
        if (!kv.address.matches(".*:[0-9]+")) throw new Kvd.KvdException("usage expected HOST:PORT");
        boolean isOpen = false;
        try {
            int colon = kv.address.lastIndexOf(':'), milliseconds = (int) (kv.timeout * 1000);
            String host = kv.address.substring(0, colon).replaceAll("[\\[\\]]", "");
            int port = Integer.parseInt(kv.address.substring(colon + 1));
            socket.connect(new InetSocketAddress(host, port), milliseconds);
            socket.setSoTimeout(milliseconds);
            socket.setTcpNoDelay(true);
            if (kv.tls != null) secure(kv.tls, host, port);
            if (kv.user != null) {
                send("AUTH " + kv.user + " " + kv.password);
                line("OK");
            }
            isOpen = true;
        } catch (RuntimeException error) { // an address that is none, or not found
            throw new IOException("cannot connect: " + error);
        } finally { if (!isOpen) close(); }
    }

    void secure(SSLContext tls, String host, int port) throws IOException {
        SSLSocket secure = (SSLSocket) tls.getSocketFactory().createSocket(socket, host, port, true);
        SSLParameters parameters = secure.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS"); // the certificate is for that host
        secure.setSSLParameters(parameters);
        secure.startHandshake();
        socket = secure;
    }

    boolean isQuiet() {
        try {
            channel.configureBlocking(false);
            int came = channel.read(ByteBuffer.allocate(1));
            channel.configureBlocking(true);
            return came == 0 && used == have;
        } catch (IOException ended) { return false; }
    }

    void send(String lines) throws IOException {
        socket.getOutputStream().write((lines + "\n").getBytes(StandardCharsets.UTF_8));
    }

    /** The next line that begins with an expected word: the word, and the rest after one space. */
    String[] line(String... expected) throws IOException, Kvd.KvdException {
        while (true) {
            String[] line = Arrays.copyOf(read().split(" ", 2), 2);
            if (line[1] == null) line[1] = "";
            if (line[0].equals("ERR")) throw new Kvd.KvdException(line[1]);
            if (List.of(expected).contains(line[0])) return line;
            if (STATUS_WORDS.contains(line[0])) throw new IOException("lost its place"); // others are skipped
        }
    }

    String read() throws IOException {
        int end = used;
        while (true) {
            while (end < have && buffer[end] != '\n') end++;
            if (end < have) break;
            System.arraycopy(buffer, used, buffer, 0, have - used);
            end = have -= used;
            used = 0;
            if (have == buffer.length) buffer = Arrays.copyOf(buffer, 2 * have);
            int came = socket.getInputStream().read(buffer, have, buffer.length - have);
            if (came < 0) throw new IOException("the connection ended");
            have += came;
        }
        String text = new String(buffer, used, end - used, StandardCharsets.UTF_8);
        used = end + 1;
        return text.replaceFirst("\r$", "");
    }

    void close() {
        try { channel.close(); } catch (IOException ignored) { /* it is closed all the same */ }
    }

    static String[] parts(String rest, int count) { return Arrays.copyOf(rest.split(" ", count), count); }

    static String kindOf(String word) { return word.replace("64", "").toLowerCase(); }

    static byte[] valueOf(String... line) { // of a word, and the value that it has
        if (Set.of("NONE", "GONE", "DEL", "EXPIRE").contains(line[0])) return null;
        return line[0].endsWith("64") ? Base64.getDecoder().decode(line[1]) : line[1].getBytes(StandardCharsets.UTF_8);
    }

    static boolean isAfter(String next, String position) throws IOException {
        String[] one = next.split("@"), other = position.split("@");
        if (!one[1].equals(other[1])) throw new IOException("a position of another store came without a copy");
        return Long.parseLong(one[0]) > Long.parseLong(other[0]);
    }

    static double rest(double pause, Double retry) { // each time longer, or as told; gives the pause
        double next = Math.min(2 * pause + FIRST_PAUSE, LONGEST_PAUSE);
        double seconds = retry != null ? retry : next * ThreadLocalRandom.current().nextDouble(0.5, 1);
        try { Thread.sleep((long) (seconds * 1000)); } catch (InterruptedException error) { Thread.currentThread().interrupt(); }
        return next;
    }
}
