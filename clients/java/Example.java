import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.TreeMap;

/**
 * Follows a prefix: prints what is there and every change, each once, through restarts of the daemon and its own.
 *
 * <p>Usage: java Example HOST:PORT PREFIX FILE.  FILE keeps the position; without it the first thing is a copy.
 */
public class Example {
    static String text(byte[] value) { return value == null ? "" : new String(value, StandardCharsets.UTF_8); }

    static void show(String kind, String key, String value) throws IOException { // System.out would keep an error to itself
        byte[] line = (kind + " " + key + " " + value + "\n").getBytes(StandardCharsets.UTF_8);
        new FileOutputStream(FileDescriptor.out).write(line);
    }

    public static void main(String[] words) throws Exception {
        if (words.length != 3) {
            System.err.println("usage: java Example HOST:PORT PREFIX FILE");
            System.exit(2);
        }
        Path file = Path.of(words[2]), other = Path.of(words[2] + ".new");
        String position = Files.exists(file) ? Files.readString(file).strip() : "-";
        if (position.isEmpty()) {
            System.err.println(file + ": it holds no position: remove it to begin with a copy");
            System.exit(1);
        }
        Map<String, String> copy = new TreeMap<>();
        try (Kvd kv = new Kvd(words[0], 30)) {
            kv.follow(position, words[1] + "*");
            while (true) {
                Kvd.Event event = kv.next();
                switch (event.kind()) {
                    case "copy" -> copy.clear();
                    case "pair" -> copy.put(event.key(), text(event.value()));
                    case "gone" -> copy.remove(event.key());
                    case "copied" -> {
                        for (var pair : copy.entrySet()) show("is", pair.getKey(), pair.getValue());
                    }
                    case "position" -> { }
                    default -> show(event.kind(), event.key(), text(event.value()));
                }
                if (event.position() == null) continue;
                // What is printed is done: only then is its position kept, in one step.
                Files.writeString(other, event.position());
                Files.move(other, file, StandardCopyOption.ATOMIC_MOVE);
            }
        }
    }
}
