import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;

/** A client of kvd: one connection, for one thread at a time, and one watch if it follows. */
public class Kvd implements AutoCloseable {
    static final double FIRST_PAUSE = 0.1, LONGEST_PAUSE = 10; // seconds before connecting again
    static final Set<String> STATUS_WORDS = Set.of("OK", "OK64", "NONE", "CONFLICT", "ERR"); // closed for good

    /** kind: set, del, expire; copy, pair, gone, copied; position.  position: after which to go on, where it moved. */
    public record Event(String kind, String position, String key, byte[] value) {}

    record Line(String word, String rest) {}

    /** code: the daemon's, also unavailable (certainly not done), uncertain (perhaps) and conflict (text: a revision). */
    public static class KvdException extends Exception {
        public final String code, text;
        public final Double retry; // seconds, or null

        KvdException(String line) {
            super(line);
            code = line.split(" ", 2)[0];
            text = line.substring(Math.min(code.length() + 1, line.length()));
            retry = text.matches("(?s)retry=[0-9.]+( .*)?") ? Double.valueOf(text.substring(6).split(" ", 2)[0]) : null;
        }
    }

    final String address, user, password;
    final double timeout;
    SocketChannel channel;
    byte[] buffer = new byte[1 << 16];
    int used, have;
    String position, patterns, stage; // of a watch; stage: what it waits for, PROGRESS, FOLLOW, COPY or CHANGE
    KvdException ended;
    double pause = FIRST_PAUSE;

    /** address: HOST:PORT; timeout: seconds without a byte, while one is due, until a connection is given up. */
    public Kvd(String address, double timeout) { this(address, timeout, null, null); }

    /** Logs in as that user. */
    public Kvd(String address, double timeout, String user, String password) {
        this.address = address;
        this.timeout = timeout;
        this.user = user;
        this.password = password;
    }

    /** The value, or null. */
    public byte[] get(String key) throws KvdException { return valueOf(ask("GET " + checked(key), true)); }

    /** The revision, as of put. */
    public String set(String key, byte[] value) throws KvdException { return put(key, value); }

    /** Options: ttl=SECONDS, if=REVISION (0: a new key only). */
    public String put(String key, byte[] value, String... options) throws KvdException {
        String head = "PUT " + checked(key) + (options.length == 0 ? "" : " " + String.join(" ", options));
        String text = new String(value, StandardCharsets.ISO_8859_1);
        if (text.matches("[\t -~]*")) return ask(head + " = " + text, false).rest;
        // The daemon sees for itself whether it is text.
        return ask(head + " base64=" + value.length + " = " + Base64.getEncoder().encodeToString(value), false).rest;
    }

    /** Options: if=REVISION.  The revision, or null where there was no such key. */
    public String del(String key, String... options) throws KvdException {
        Line line = ask(("DEL " + checked(key) + " " + String.join(" ", options)).strip(), false);
        return line.word.equals("NONE") ? null : line.rest;
    }

    /** Begins a watch, with a copy for the position `-`: next gives its events, for ever. */
    public void follow(String position, String... patterns) throws KvdException {
        for (String pattern : patterns) if (!pattern.equals("*")) checked(pattern.replaceFirst("\\*$", ""));
        this.position = position;
        this.patterns = String.join(" ", patterns);
        close();
    }

    public Event next() throws KvdException {
        while (true) {
            Double retry = null;
            try {
                Event event = step();
                if (event == null) continue;
                pause = FIRST_PAUSE;
                return event;
            } catch (IOException | RuntimeException lost) { // the next connection goes on where this one ended
            } catch (KvdException error) {
                if (List.of("compacted", "store", "future").contains(error.code)) position = "-";
                else if (!error.code.equals("unavailable")) throw error;
                retry = error.retry;
            }
            close();
            pause = rest(pause, retry);
        }
    }

    Event step() throws IOException, KvdException { // the event of the next line, or null
        if (channel == null) {
            open(); // without PROGRESS silence could not be told from quiet
            send(String.format(java.util.Locale.ROOT, "PROGRESS %.3f\nFOLLOW %s %s", timeout / 3, position, patterns));
            stage = "PROGRESS";
            ended = null;
        }
        if (ended != null) throw ended;
        Line line = line();
        String[] part = Arrays.copyOf(line.rest.split(" ", 4), 4);
        switch (stage + " " + line.word) {
            case "PROGRESS OK" -> stage = "FOLLOW";
            case "FOLLOW COPY" -> { stage = "COPY"; return new Event("copy", null, null, null); }
            case "FOLLOW OK", "COPY OK" -> {
                if (stage.equals("FOLLOW") && !line.rest.equals(position)) throw new IOException("it begins elsewhere");
                Event event = new Event(stage.equals("COPY") ? "copied" : "position", position = line.rest, null, null);
                stage = "CHANGE";
                return event;
            }
            case "COPY PAIR", "COPY PAIR64", "COPY GONE" -> {
                part = Arrays.copyOf(line.rest.split(" ", 3), 3);
                return new Event(kindOf(line.word), null, part[1], valueOf(new Line(line.word, part[2])));
            }
            case "CHANGE CHANGE", "CHANGE PROGRESS", "CHANGE END" -> {
                boolean isNew = isAfter(part[0], position); // else it was told before
                if (line.word.equals("END")) ended = new KvdException("unavailable " + part[2] + " ");
                if (!isNew) return null;
                position = part[0];
                if (!line.word.equals("CHANGE")) return new Event("position", position, null, null);
                return new Event(kindOf(part[1]), position, part[2], valueOf(new Line(part[1], part[3])));
            }
            default -> { if (STATUS_WORDS.contains(line.word)) throw new IOException("lost its place"); }
        }
        return null;
    }

    Line ask(String request, boolean again) throws KvdException { // again: when no reply came; what was not sent, always
        double now = System.nanoTime() / 1e9, deadline = now + timeout;
        for (double pause = FIRST_PAUSE; ; pause = rest(pause, null)) {
            try {
                // What came unasked means that the place is lost, or that the connection has ended.
                if (channel != null && !isQuiet()) close();
                if (channel == null) open();
                send(request);
                Line line = line();
                while (!STATUS_WORDS.contains(line.word)) line = line(); // other lines are skipped
                if (line.word.equals("CONFLICT")) throw new KvdException("conflict " + line.rest);
                return line;
            } catch (IOException | RuntimeException lost) {
                boolean sent = channel != null;
                close();
                if (sent && !again) throw new KvdException("uncertain no reply came: " + lost.getMessage());
                if (System.nanoTime() / 1e9 > deadline) throw new KvdException("unavailable no reply: " + lost.getMessage());
            }
        }
    }

    void open() throws IOException, KvdException {
        int colon = address.lastIndexOf(':');
        String host = address.substring(0, colon).replaceAll("[\\[\\]]", "");
        InetSocketAddress to = new InetSocketAddress(host, Integer.parseInt(address.substring(colon + 1)));
        SocketChannel opened = SocketChannel.open();
        try {
            opened.socket().connect(to, (int) (timeout * 1000));
        } catch (IOException | RuntimeException error) {
            opened.close();
            throw new IOException("cannot connect: " + error.getMessage());
        }
        opened.socket().setSoTimeout((int) (timeout * 1000));
        opened.socket().setTcpNoDelay(true);
        channel = opened;
        used = have = 0;
        if (user == null) return;
        boolean isIn = false; // until then nothing was asked
        try {
            send("AUTH " + user + " " + password);
            isIn = line().word.equals("OK");
            if (!isIn) throw new IOException("lost its place");
        } finally { if (!isIn) close(); }
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
        channel.socket().getOutputStream().write((lines + "\n").getBytes(StandardCharsets.UTF_8));
    }

    Line line() throws IOException, KvdException { // the first word, and the rest after one space
        int end = used;
        while (true) {
            while (end < have && buffer[end] != '\n') end++;
            if (end < have) break;
            System.arraycopy(buffer, used, buffer, 0, have - used);
            end = have -= used;
            used = 0;
            if (have == buffer.length) buffer = Arrays.copyOf(buffer, 2 * have);
            int came = channel.socket().getInputStream().read(buffer, have, buffer.length - have);
            if (came < 0) throw new IOException("the connection ended");
            have += came;
        }
        String text = new String(buffer, used, end - used, StandardCharsets.UTF_8).replaceFirst("\r$", "");
        used = end + 1;
        int space = text.indexOf(' ');
        Line line = space < 0 ? new Line(text, "") : new Line(text.substring(0, space), text.substring(space + 1));
        if (line.word.equals("ERR")) throw new KvdException(line.rest);
        return line;
    }

    @Override
    public void close() {
        try { if (channel != null) channel.close(); } catch (IOException ignored) { /* it is closed all the same */ }
        channel = null;
    }

    static String kindOf(String word) { return word.replace("64", "").toLowerCase(); }

    static byte[] valueOf(Line line) {
        if (Set.of("NONE", "GONE", "DEL", "EXPIRE").contains(line.word)) return null;
        return line.word.endsWith("64") ? Base64.getDecoder().decode(line.rest) : line.rest.getBytes(StandardCharsets.UTF_8);
    }

    static boolean isAfter(String next, String position) throws IOException {
        String[] one = next.split("@"), other = position.split("@");
        if (!one[1].equals(other[1])) throw new IOException("a position of another store came without a copy");
        return Long.parseLong(one[0]) > Long.parseLong(other[0]);
    }

    static String checked(String key) throws KvdException {
        if (key.matches("[^\\x00-\\x20\\x7f*]+")) return key;
        throw new KvdException("bad-key a key has no white space, no control character and no *");
    }

    static double rest(double pause, Double retry) { // the next pause
        double seconds = retry != null ? retry : pause * ThreadLocalRandom.current().nextDouble(0.5, 1);
        try { Thread.sleep((long) (seconds * 1000)); } catch (InterruptedException error) { Thread.currentThread().interrupt(); }
        return Math.min(pause * 2, LONGEST_PAUSE);
    }
}
