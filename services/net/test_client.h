// A blocking client on loopback, plain or TLS, for tests of what listens.
#ifndef POSTERN_SERVICES_NET_TEST_CLIENT_H_
#define POSTERN_SERVICES_NET_TEST_CLIENT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "openssl/types.h"

namespace postern::net {

// One thread. Waits at most 20 s for anything, then fails as at the end of the stream.
class TestClient {
 public:
  explicit TestClient(int port, const std::string& address = "127.0.0.1");
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  bool connected() const { return descriptor_ >= 0; }
  // The handshake; any certificate will do. `max_version` as in TLS1_2_VERSION; `ciphers` for
  // TLS 1.2.
  bool StartTls(int max_version = 0, const char* ciphers = nullptr);
  // False when the peer is gone.
  bool Send(absl::string_view octets);
  void FinishSending();

  // With CRLF; empty at the end of the stream.
  std::string ReadLine();
  // All lines of an SMTP reply.
  std::string ReadReply();
  std::string Read(size_t octets);
  std::string ReadToEnd();
  // The stream ended by a reset, not by FIN or close_notify.
  bool reset() const { return reset_; }
  // The common name of the server's certificate.
  std::string PeerName() const;

 private:
  bool Fill();

  int descriptor_ = -1;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  std::string buffer_;
  bool reset_ = false;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_TEST_CLIENT_H_
