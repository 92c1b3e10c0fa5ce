// TLS for kvd.h, by OpenSSL: -DKVD_TLS -lssl -lcrypto.
#include <openssl/ssl.h>
#include <signal.h>

static int kvd_secure(kvd *k, const char *host) { // 0, or -1
    if (!k->tls) return 0;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int ready = context && (k->tls_ca ? SSL_CTX_load_verify_locations(context, k->tls_ca, NULL)
                                      : SSL_CTX_set_default_verify_paths(context)) == 1;
    if (ready && k->tls_cert) {
        ready = SSL_CTX_use_certificate_chain_file(context, k->tls_cert) == 1
            && SSL_CTX_use_PrivateKey_file(context, k->tls_key ? k->tls_key : k->tls_cert, SSL_FILETYPE_PEM) == 1;
    }
    if (ready && (k->ssl = SSL_new(context))) {
        if (!X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(k->ssl), host)) { // it is a name
            ready = SSL_set1_host(k->ssl, host) && SSL_set_tlsext_host_name((SSL *)k->ssl, host);
        }
        SSL_set_verify(k->ssl, SSL_VERIFY_PEER, NULL);
        signal(SIGPIPE, SIG_IGN); // or a write to a connection that has ended would end the program
        ready = ready && SSL_set_fd(k->ssl, k->fd) && SSL_connect(k->ssl) == 1;
    }
    SSL_CTX_free(context);
    return ready && k->ssl ? 0 : -1;
}
static ssize_t kvd_receive(kvd *k, char *data, size_t size) {
    return k->ssl ? SSL_read(k->ssl, data, (int)size) : recv(k->fd, data, size, 0);
}
static ssize_t kvd_give(kvd *k, const char *data, size_t size) {
    return k->ssl ? SSL_write(k->ssl, data, (int)size) : send(k->fd, data, size, MSG_NOSIGNAL);
}
static void kvd_close(kvd *k) {
    if (k->open) SSL_free(k->ssl), k->ssl = NULL, close(k->fd);
    k->open = 0;
}
