import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** What TLS needs, from PEM files: new Kvd(address, timeout, user, password, KvdTls.context(ca, null, null)). */
public class KvdTls {
    /** Whom to trust; and, where they are not null, a certificate of one's own and its key (in PKCS #8). */
    public static SSLContext context(Path ca, Path cert, Path key) throws IOException, GeneralSecurityException {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType()), own = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        for (Certificate one : certificates(ca)) trusted.setCertificateEntry("" + trusted.size(), one);
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        own.load(null, null);
        if (cert != null) own.setKeyEntry("own", privateKey(key), new char[0], certificates(cert));
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, new char[0]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    static Certificate[] certificates(Path file) throws IOException, GeneralSecurityException {
        try (InputStream in = new FileInputStream(file.toFile())) {
            return CertificateFactory.getInstance("X.509").generateCertificates(in).toArray(Certificate[]::new);
        }
    }

    static PrivateKey privateKey(Path file) throws IOException, GeneralSecurityException {
        String[] part = Files.readString(file).split("-----(BEGIN|END) PRIVATE KEY-----");
        for (String kind : part.length < 2 ? List.<String>of() : List.of("EC", "RSA", "EdDSA")) {
            try {
                byte[] key = Base64.getMimeDecoder().decode(part[1]);
                return KeyFactory.getInstance(kind).generatePrivate(new PKCS8EncodedKeySpec(key));
            } catch (GeneralSecurityException another) { /* it is of another kind */ }
        }
        throw new GeneralSecurityException(file + " has no plain PRIVATE KEY: openssl pkcs8 -topk8 -nocrypt makes one of it");
    }
}
