import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.SSLContext;

/** A client of kvd (with KvdConnection.java and KvdTls.java): one connection, for one thread at a time, and one watch. */
public class Kvd implements AutoCloseable {
    /** kind: set, del, expire; copy, pair, gone, copied; position.  position: after which to go on, where it moved. */
    public record Event(String kind, String position, String key, byte[] value) {}

    /** code: the daemon's, also unavailable (certainly not done), uncertain (perhaps) and conflict (text: a revision). */
    public static class KvdException extends Exception {
        public final String code, text;
        public final Double retry; // seconds, or null

        KvdException(String line) {
            super(line);
            code = line.split(" ", 2)[0];
            text = line.substring(Math.min(code.length() + 1, line.length()));
            boolean isTold = text.matches("(?s)retry=(?=[0.]*[1-9])([0-5]?[0-9](\\.[0-9]+)?|60)( .*)?");
            retry = isTold ? Double.valueOf(text.substring(6).split(" ", 2)[0]) : null;
        }
    }

    final String address, user, password;
    final double timeout;
    final SSLContext tls;
    KvdConnection connection;
    String position, patterns; boolean isCopying; // of a watch
    double pause; // before it connects again

    /** address: HOST:PORT; timeout: seconds without a byte, while one is due, until a connection is given up. */
    public Kvd(String address, double timeout) { this(address, timeout, null, null); }

    public Kvd(String address, double timeout, String user, String password) { this(address, timeout, user, password, null); }

    /** Logs in as user, where it is not null; tls: null, SSLContext.getDefault(), or what KvdTls makes of files. */
    public Kvd(String address, double timeout, String user, String password, SSLContext tls) {
        this.address = address;
        this.timeout = timeout;
        this.user = user;
        this.password = password;
        this.tls = tls;
    }

    /** The value, or null. */
    public byte[] get(String key) throws KvdException { return KvdConnection.valueOf(ask("GET " + checked(key), true)); }

    /** The revision, as of put. */
    public String set(String key, byte[] value) throws KvdException { return put(key, value); }

    /** Options: ttl=SECONDS, if=REVISION (0: a new key only). */
    public String put(String key, byte[] value, String... options) throws KvdException {
        String head = "PUT " + checked(key) + (options.length == 0 ? "" : " " + String.join(" ", options));
        String text = new String(value, StandardCharsets.ISO_8859_1);
        if (text.matches("[\t -~]*")) return ask(head + " = " + text, false)[1];
        // The daemon sees for itself whether it is text.
        return ask(head + " base64=" + value.length + " = " + Base64.getEncoder().encodeToString(value), false)[1];
    }

    /** Options: if=REVISION.  The revision, or null where there was no such key. */
    public String del(String key, String... options) throws KvdException {
        String[] reply = ask(("DEL " + checked(key) + " " + String.join(" ", options)).strip(), false);
        return reply[0].equals("NONE") ? null : reply[1];
    }

    /** Begins a watch, with a copy for the position `-`: next gives its events, for ever. */
    public void follow(String position, String... patterns) throws KvdException {
        for (String pattern : patterns) if (!pattern.equals("*")) checked(pattern.replaceFirst("\\*$", ""));
        this.position = position;
        this.patterns = String.join(" ", patterns);
        close();
    }

    public Event next() throws KvdException {
        for (Double retry = null; ; pause = KvdConnection.rest(pause, retry)) {
            try {
                Event event = null;
                while (event == null) event = step();
                pause = 0;
                return event;
            } catch (IOException | RuntimeException lost) { // the next connection goes on where this one ended
                retry = null;
            } catch (KvdException error) {
                if (List.of("compacted", "store", "future").contains(error.code)) position = "-";
                else if (!error.code.equals("unavailable")) throw error;
                retry = error.retry;
            }
            close();
        }
    }

    Event step() throws IOException, KvdException { // the event of the next line, or null where it was told before
        if (connection == null) {
            connection = new KvdConnection(this);
            connection.send(String.format(java.util.Locale.ROOT, "PROGRESS %.3f\nFOLLOW %s %s", timeout / 3, position, patterns));
            connection.line("OK"); // of PROGRESS, without which silence could not be told from quiet
            String[] begun = connection.line("OK", "COPY");
            isCopying = begun[0].equals("COPY");
            if (!isCopying && !begun[1].equals(position)) throw new IOException("it begins elsewhere");
            return new Event(isCopying ? "copy" : "position", isCopying ? null : position, null, null);
        }
        if (isCopying) {
            String[] line = connection.line("OK", "PAIR", "PAIR64", "GONE"), part = KvdConnection.parts(line[1], 3);
            isCopying = !line[0].equals("OK");
            if (!isCopying) return new Event("copied", position = line[1], null, null);
            return new Event(KvdConnection.kindOf(line[0]), null, part[1], KvdConnection.valueOf(line[0], part[2]));
        }
        String[] line = connection.line("CHANGE", "PROGRESS", "END"), part = KvdConnection.parts(line[1], 4);
        boolean isNew = KvdConnection.isAfter(part[0], position);
        if (isNew) position = part[0];
        if (line[0].equals("END")) throw new KvdException("unavailable " + part[2] + " ");
        if (!isNew) return null;
        if (line[0].equals("PROGRESS")) return new Event("position", position, null, null);
        return new Event(KvdConnection.kindOf(part[1]), position, part[2], KvdConnection.valueOf(part[1], part[3]));
    }

    String[] ask(String request, boolean again) throws KvdException { // again: when no reply came; what was not sent, always
        double deadline = System.nanoTime() / 1e9 + timeout;
        for (; ; pause = KvdConnection.rest(pause, null)) {
            try {
                // What came unasked means that the place is lost, or that the connection has ended.
                if (connection != null && !connection.isQuiet()) close();
                if (connection == null) connection = new KvdConnection(this);
                connection.send(request);
                String[] line = connection.line("OK", "OK64", "NONE", "CONFLICT");
                pause = 0;
                if (line[0].equals("CONFLICT")) throw new KvdException("conflict " + line[1]);
                return line;
            } catch (IOException | RuntimeException lost) {
                boolean isSent = connection != null;
                close();
                if (isSent && !again) throw new KvdException("uncertain no reply came: " + lost.getMessage());
                if (System.nanoTime() / 1e9 > deadline) throw new KvdException("unavailable no reply: " + lost.getMessage());
            }
        }
    }

    @Override
    public void close() {
        if (connection != null) connection.close();
        connection = null;
    }

    static String checked(String key) throws KvdException {
        if (key.matches("[^\\x00-\\x20\\x7f*]+")) return key;
        throw new KvdException("bad-key a key has no white space, no control character and no *");
    }
}
