import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import javax.net.ssl.SSLContext;

/** The adapter with which ../conformance certifies Kvd.java.  Members are strings, so that JSON is read with little ado. */
public class Adapter {
    static final Pattern MEMBER = Pattern.compile("\"(\\w+)\": \"((?:[^\"\\\\]|\\\\.)*)\"");
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    static String unescaped(String text) {
        if (!text.contains("\\")) return text;
        return Pattern.compile("\\\\(u....|.)").matcher(text).replaceAll(found -> java.util.regex.Matcher.quoteReplacement(
            switch (found.group(1).charAt(0)) {
                case 'n' -> "\n";
                case 'r' -> "\r";
                case 't' -> "\t";
                case 'u' -> String.valueOf((char) Integer.parseInt(found.group(1).substring(1), 16));
                default -> found.group(1);
            }));
    }

    static String member(String name, String text) {
        return text == null ? "" : ", \"" + name + "\": \"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\t", "\\t") + "\"";
    }

    static String base64(byte[] value) { return value == null ? null : Base64.getEncoder().encodeToString(value); }

    static void say(String members) { OUT.println("{" + members.substring(2) + "}"); }

    static String failed(Kvd.KvdException error) {
        if (error.code.equals("conflict")) return member("conflict", error.text);
        return member("error", error.code) + (error.retry == null ? "" : member("retry", error.retry.toString()));
    }

    static void follow(Kvd kv, Map<String, String> asked) throws Kvd.KvdException {
        kv.follow(asked.get("position"), asked.get("patterns").split(" "));
        say(member("ok", ""));
        try {
            while (true) {
                Kvd.Event event = kv.next();
                say(member("event", event.kind()) + member("position", event.position()) + member("key", event.key())
                    + member("value64", base64(event.value())));
            }
        } catch (Kvd.KvdException error) {
            say(member("event", "error") + failed(error));
        }
    }

    static SSLContext tls(Map<String, String> asked) throws Exception {
        if (!asked.containsKey("ca")) return null;
        Path cert = asked.containsKey("cert") ? Path.of(asked.get("cert")) : null;
        return KvdTls.context(Path.of(asked.get("ca")), cert, cert == null ? null : Path.of(asked.get("key")));
    }

    static String orNull(String name, String text) { return text == null ? ", \"ok\": null" : member(name, text); }

    public static void main(String[] words) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Kvd kv = null;
        for (String line; (line = in.readLine()) != null; ) {
            Map<String, String> asked = new HashMap<>();
            MEMBER.matcher(line).results().forEach(found -> asked.put(found.group(1), unescaped(found.group(2))));
            String key = asked.get("key"), text = asked.getOrDefault("value", "");
            byte[] value = asked.containsKey("value64") ? Base64.getDecoder().decode(asked.get("value64")) : text.getBytes(StandardCharsets.UTF_8);
            List<String> options = new ArrayList<>();
            for (String name : List.of("ttl", "if")) if (asked.containsKey(name)) options.add(name + "=" + asked.get(name));
            String[] given = options.toArray(new String[0]);
            try {
                switch (asked.get("op")) {
                    case "connect" -> {
                        double timeout = Double.parseDouble(asked.get("timeout"));
                        kv = new Kvd(asked.get("address"), timeout, asked.get("user"), asked.get("password"), tls(asked));
                        say(member("ok", ""));
                    }
                    case "get" -> say(orNull("ok64", base64(kv.get(key))));
                    case "set" -> say(member("ok", kv.set(key, value)));
                    case "put" -> say(member("ok", kv.put(key, value, given)));
                    case "del" -> say(orNull("ok", kv.del(key, given)));
                    case "follow" -> follow(kv, asked);
                    default -> say(member("error", "usage"));
                }
            } catch (Kvd.KvdException error) {
                say(failed(error));
            }
        }
    }
}
